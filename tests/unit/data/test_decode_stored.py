"""A dataset with limits of its own is decoded wherever it is used, not only by its import."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from strandline.data.decode import DecodeLimits, decode_image, decode_stored
from strandline.spec.errors import UnusableDataError


def test_an_image_over_the_usual_limit_is_decoded_once_an_import_accepted_it() -> None:
    file = io.BytesIO()
    Image.new("1", (7100, 7100)).save(file, "PNG")
    assert DecodeLimits().max_pixels < 7100 * 7100
    with pytest.raises(UnusableDataError, match="the limit is"):
        decode_image(file.getvalue())
    assert decode_stored(file.getvalue()).pixels.shape == (7100, 7100, 3)
