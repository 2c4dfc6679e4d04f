"""Pictures of all kinds become the same numbers as they are seen; those that cannot be read are all named."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slipway.training.data.labelled.pictures import find_pictures, read_picture
from tests.training.helpers import catch
from tests.training.labelled_sources import write_pictures

LEFT_HALF = np.zeros((4, 8), np.uint8)
LEFT_HALF[:, :4] = 255


def saved(path: Path, picture: Image.Image, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)
    return path


def seen(path: Path, channels: int = 1, size: tuple[int, int] = (4, 8), resize: str = "stretch") -> np.ndarray:
    picture = read_picture(path, size, channels, resize)
    assert picture.dtype == np.float32
    assert picture.shape == (channels, *size)
    return picture


def modes() -> dict[str, Image.Image]:
    grey = Image.fromarray(LEFT_HALF)
    alpha = Image.merge("LA", (Image.new("L", (8, 4)), Image.fromarray(255 - LEFT_HALF)))
    return {
        "grey": grey,
        "black and white": grey.convert("1"),
        "colour": grey.convert("RGB"),
        "palette": grey.convert("P"),
        "transparent": alpha,
        "transparent colour": alpha.convert("RGBA"),
        "16 bits": Image.fromarray(LEFT_HALF.astype(np.uint16) * 257),
    }


@pytest.mark.parametrize("kind", modes())
@pytest.mark.parametrize("channels", [1, 3])
def test_white_is_one_and_black_is_zero_whatever_the_file_holds(kind: str, channels: int, tmp_path: Path) -> None:
    found = seen(saved(tmp_path / "a.png", modes()[kind]), channels)
    np.testing.assert_array_equal(found, np.broadcast_to(LEFT_HALF / np.float32(255), found.shape))


def test_sixteen_bits_keep_their_steps(tmp_path: Path) -> None:
    values = np.arange(32, dtype=np.uint16).reshape(4, 8) * 1000
    found = seen(saved(tmp_path / "a.png", Image.fromarray(values)))
    np.testing.assert_allclose(found[0], values / 65535, atol=1e-6)


def test_a_photo_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    turned = Image.fromarray(LEFT_HALF).transpose(Image.Transpose.ROTATE_90)  # it lies in the file
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path / "a" / "a.jpg", turned, exif=exif, quality=100)
    assert (seen(path)[0, :, :3] > 0.9).all()
    saved(tmp_path / "b" / "a.jpg", turned, exif=exif)
    assert find_pictures(str(tmp_path)).sizes == {(4, 8): 2}


def test_another_shape_is_cropped_padded_or_stretched(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(LEFT_HALF))
    crop, pad, stretch = (seen(path, 1, (4, 4), how)[0] for how in ("crop", "pad", "stretch"))
    assert crop[:, :2].min() == 1.0
    assert crop[:, 2:].max() == 0.0
    assert pad[0].max() == pad[3].max() == 0.0
    assert pad[1:3, 0].min() == stretch[:, 0].min() == 1.0


def test_all_that_cannot_be_read_is_named_at_once_with_what_to_do(tmp_path: Path) -> None:
    write_pictures(tmp_path, 3)
    content = (tmp_path / "cross" / "1.png").read_bytes()
    (tmp_path / "cross" / "1.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "circle" / "0.png").write_bytes(b"")
    (tmp_path / "circle" / "1.jpg").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    (tmp_path / "stripes" / "2.heic").write_bytes(b"ftypheic")
    (tmp_path / "stripes" / "3.png").symlink_to(tmp_path / "nowhere.png")
    saved(tmp_path / "stripes" / "4.tif", Image.fromarray(np.ones((4, 4), np.float32) * 7))
    first, *others = str(catch(find_pictures, str(tmp_path))).split("\n  ")
    assert first == f"{tmp_path}: 6 faults"
    names = [line.split(": ")[0].removeprefix(f"{tmp_path}/") for line in others]
    assert names == ["circle/0.png", "circle/1.jpg", "cross/1.png", "stripes/2.heic", "stripes/3.png", "stripes/4.tif"]
    words = [
        "is empty",
        "git lfs pull",
        "replace or remove it",
        "save it as JPEG or PNG",
        "leads nowhere",
        "8 or 16 bits",
    ]
    for line, word in zip(others, words, strict=True):
        assert word in line


def test_copies_are_told_by_their_bytes_and_several_pictures_in_a_file_are_told(tmp_path: Path) -> None:
    write_pictures(tmp_path, 2)
    (tmp_path / "cross" / "9.png").write_bytes((tmp_path / "cross" / "0.png").read_bytes())
    frames = [Image.fromarray(LEFT_HALF + shade) for shade in (0, 100)]
    frames[0].save(tmp_path / "cross" / "a.gif", save_all=True, append_images=frames[1:])
    found = find_pictures(str(tmp_path))
    assert len(found.contents) - len(set(found.contents)) == 1
    assert found.samples.notes == ("1 file holds several pictures: the first of each is taken",)
    assert not found.is_grey
    assert found.describe((16, 16), 3) == "made 16 x 16 (they are 4 x 8 to 12 x 12), 3 channels"


def test_small_pictures_of_one_size_keep_it_and_others_get_one(tmp_path: Path) -> None:
    found = find_pictures("digits")
    assert found.is_grey
    assert (found.size_for(None), found.size_for(32)) == ((8, 8), (32, 32))
    write_pictures(tmp_path, 1, size=100)
    assert find_pictures(str(tmp_path)).size_for(None) == (64, 64)


@pytest.mark.parametrize(
    ("module", "data", "package"), [("PIL.Image", "x", "Pillow"), ("sklearn.datasets", "digits", "scikit-learn")]
)
def test_a_missing_package_is_named(module: str, data: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert str(catch(find_pictures, data)) == f"pictures need {package}: pip install 'slipway[images]'"
