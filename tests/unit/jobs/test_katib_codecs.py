"""Values travel to Katib as text and come back as the same values."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st

from strandline.jobs.katib.codecs import Codec, codec_of
from strandline.jobs.katib.declared import LOG_DISTRIBUTIONS, Declared
from strandline.spec.errors import InvalidSpecError


def drawn(codec: Codec, count: int = 20) -> list[str]:
    rng = np.random.default_rng(0)
    return [codec.text(codec.parameter.sample(rng)) for _ in range(count)]


@given(
    low=st.decimals(-1000, 1000, places=4),
    width=st.decimals("0.001", 1000, places=4),
    step=st.none() | st.decimals("0.0001", 10, places=4),
    kind=st.sampled_from(["double", "int"]),
    distribution=st.sampled_from(["", "uniform", "logUniform", "normal", "logNormal"]),
)
def test_a_number_comes_back_as_itself_and_lies_in_its_range(
    low: Decimal, width: Decimal, step: Decimal | None, kind: str, distribution: str
) -> None:
    if kind == "int":
        low, width = low.to_integral_value(), width.to_integral_value()
        step = step and max(Decimal(1), step.to_integral_value())
    assume(low > 0 or distribution not in LOG_DISTRIBUTIONS)
    high = low + width
    declared = Declared("x", kind, str(low), str(high), str(step or ""), (), distribution)
    codec = codec_of(declared)
    for text in drawn(codec, 5):
        value = codec.value(text)
        assert codec.text(value) == text
        assert codec.parameter.allows(value)
        slack = Decimal("1e-9") * max(abs(low), abs(high))
        assert low - slack <= Decimal(text) <= high + slack
        if kind == "int":
            assert text.lstrip("-").isdigit()
        if step:
            steps = (Decimal(text) - low) / step
            assert abs(steps - steps.to_integral_value()) < Decimal("1e-6")


def test_steps_are_written_without_the_noise_of_binary_fractions() -> None:
    codec = codec_of(Declared("x", "double", "0.1", "0.7", "0.1"))
    texts = {codec.text(value) for value in codec.parameter.listed() or ()}
    assert texts == {"0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7"}


def test_steps_on_a_logarithmic_scale_are_dense_where_numbers_are_small() -> None:
    codec = codec_of(Declared("x", "double", "0.001", "1", "0.001", (), "logUniform"))
    small = sum(float(text) < 0.0316 for text in drawn(codec, 400))
    assert 150 < small < 250  # half of the logarithm's range


def test_listed_words_come_back_as_they_were_written() -> None:
    codec = codec_of(Declared("x", "discrete", values=("1e1", "08", "3.50")))
    assert codec.parameter.listed() == ("3.50", "08", "1e1")
    assert [codec.value(text) for text in ("08", "1e1")] == ["08", "1e1"]


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        (Declared("x", "double", "0", "1"), "1.5"),
        (Declared("x", "double", "0", "1"), "nan"),
        (Declared("x", "double", "0", "1"), "1e999"),
        (Declared("x", "double", "0", "1", "0.25"), "0.3"),
        (Declared("x", "int", "0", "9"), "2.5"),
        (Declared("x", "int", "0", "9"), "many"),
        (Declared("x", "categorical", values=("a",)), "b"),
    ],
)
def test_a_value_of_another_space_is_refused(declared: Declared, text: str) -> None:
    with pytest.raises(InvalidSpecError, match="x ="):
        codec_of(declared).value(text)


def test_a_declaration_of_endless_steps_is_refused() -> None:
    with pytest.raises(InvalidSpecError, match="make step larger"):
        codec_of(Declared("x", "double", "0", "1e6", "1e-12"))
