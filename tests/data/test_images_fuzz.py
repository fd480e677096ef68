"""Images damaged at random: an image within the limits comes out, or an error."""

from __future__ import annotations

import io
import struct
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from proxyhash.data.images import open_image
from proxyhash.errors import ImageError

MOST = 2_000


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    Image.radial_gradient("L").resize((24, 18)).convert("RGB").save(file, kind)
    return file.getvalue()


WHOLE = {kind: encoded(kind) for kind in ("PNG", "JPEG", "GIF", "WEBP")}


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes changed, cut out and put in, most of them in the head."""
    content = whole
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, 40) | st.integers(0, len(content)))
        cut = draw(st.sampled_from([0, 1, 1, 1, 4, len(whole)]))
        content = content[:place] + draw(st.binary(max_size=4)) + content[place + cut :]
    return content


@pytest.mark.filterwarnings("ignore")  # as in a service, where Pillow's warnings are no errors
@pytest.mark.parametrize("kind", WHOLE)
@settings(max_examples=200, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_damaged_image_is_a_small_image_or_an_error(kind: str, data: st.DataObject) -> None:
    content = data.draw(damaged(WHOLE[kind]))
    with suppress(ImageError):
        image = open_image(content, max_pixels=MOST)
        assert image.mode == "RGB"
        assert 0 < image.width * image.height <= MOST


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from([whole[:12] for whole in WHOLE.values()]), st.binary(max_size=60))
def test_a_signature_before_anything_is_no_crash(signature: bytes, rest: bytes) -> None:
    with suppress(ImageError):
        open_image(signature + rest, max_pixels=MOST)


def test_an_icon_is_not_decoded_before_its_size_is_known() -> None:
    file = io.BytesIO()
    Image.new("L", (3000, 3000)).save(file, "PNG")
    image = file.getvalue()
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 8, len(image), 22)
    icon = struct.pack("<HHH", 0, 1, 1) + entry + image
    with pytest.raises(ImageError, match=r"an icon \(ICO\)"):
        open_image(icon, max_pixels=MOST)
