"""The model card: the evaluation in words, and hostile names as plain text."""

from strandline.bundle.card import render_card
from strandline.spec.records import Task
from strandline.testing.bundles import make_receipt
from strandline.testing.scorecards import make_scorecard


def test_the_card_has_the_numbers_with_their_intervals() -> None:
    scorecard = make_scorecard()
    found = scorecard.metrics["precision_at_1"]
    card = render_card("coast", scorecard, make_receipt())
    assert f"| {found.value:.3f} | {found.low:.3f} to {found.high:.3f} |" in card
    assert "cliff, dune, reef" in card
    assert scorecard.abstention.chosen.reason.split(";")[0] in card
    assert make_receipt().dataset_digest in card


def test_the_owners_words_are_in_the_card() -> None:
    card = render_card(
        "coast",
        make_scorecard(Task.MULTILABEL),
        make_receipt(),
        description="Tells rocks apart.",
        intended_use="Not for navigation.",
        license_name="CC0",
    )
    assert all(word in card for word in ("Tells rocks apart.", "Not for navigation.", "CC0"))
    assert "Any number of these labels" in card


def test_names_from_outside_stay_text() -> None:
    labels = ("<script>alert(1)</script>", "a|b\n# c", "![x](http://x)")
    card = render_card("coast", make_scorecard(labels=labels), make_receipt())
    assert "<script>" not in card
    assert "\n# c" not in card
    assert "![x]" not in card
    assert r"a\|b \# c" in card


def test_what_is_undefined_is_called_so() -> None:
    scorecard = make_scorecard()
    nothing = scorecard.metrics["auc_roc"].model_copy(
        update={"value": None, "low": None, "high": None}
    )
    changed = scorecard.model_copy(update={"metrics": {**scorecard.metrics, "auc_roc": nothing}})
    assert "| undefined | – |" in render_card("coast", changed, make_receipt())
