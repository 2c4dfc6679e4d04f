"""Samples come back from bytes as they were: type, structure, dtype, shape and order of axes; or are refused by name."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections import OrderedDict, UserDict, namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from slipway.training.common.errors import UserError
from slipway.training.tasks.samples.streams.encoding import NotStorable, classes_of, decode, encode, form_of

Pair = namedtuple("Pair", "x y")


@dataclasses.dataclass(frozen=True)
class Clip:
    frames: torch.Tensor
    label: int
    length: int = dataclasses.field(init=False, default=0)


class Color(enum.IntEnum):
    RED = 1


IMAGES = torch.arange(96.0).reshape(2, 3, 4, 4)

SAMPLES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -(2**63),
        2**63,
        -(10**40),
        0.1,
        float("inf"),
        1 - 2j,
        "",
        "h\u00e9\ud800",
        b"\0",
        bytearray(b"a"),
    ),
    *(
        (),
        [],
        {},
        (1,),
        (1, 2.5, None),
        [1, 2, 3],
        [1.5, 2.5],
        [True, False],
        [2**64, 1],
        [[1], [2, 3], []],
        list(range(50)),
    ),
    tuple(range(50)),
    {"a": {"b": [{"c": (None, "x")}]}, "": 1, 3: 2},
    OrderedDict(b=1, a=torch.ones(1)),
    Pair(1, np.float32(0.1)),
    Clip(torch.ones(2, 3, dtype=torch.bfloat16), 4),
    *(
        torch.ones(3).to(dtype)
        for dtype in (torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64, torch.complex64)
    ),
    *(torch.tensor(4), torch.zeros(0), torch.zeros(2, 0, 3), torch.ones(2, dtype=torch.uint16), torch.eye(3)[1:, 1]),
    *(IMAGES, IMAGES.permute(0, 3, 1, 2), IMAGES.to(memory_format=torch.channels_last), IMAGES[:1].mT),
    *(np.arange(6, dtype=dtype).reshape(2, 3) for dtype in ("i1", "<u2", ">i4", "f2", ">f8", "c16")),
    *(np.array(3), np.zeros((0, 2)), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.array([True])),
    *(np.array(["a", "bcd"]), np.array([b"a"]), np.array(["2020-01-01"], dtype="M8[D]"), np.str_("ab"), np.int8(3)),
    np.arange(6.0)[::-1],
]


def returned(sample: Any, known: dict[str, type] | None = None) -> Any:
    """Return a sample that was written and read."""
    encoded = encode(sample, {})
    form = form_of(json.loads(json.dumps(encoded.form)))
    return decode(
        form, encoded.sizes, np.frombuffer(bytearray(encoded.data), np.uint8), classes_of([form], known or {})
    )


def assert_same(left: Any, right: Any) -> None:
    assert type(left) is type(right)
    if isinstance(left, torch.Tensor):
        assert (left.dtype, left.shape) == (right.dtype, right.shape)
        assert torch.equal(left, right)
    elif isinstance(left, np.ndarray):
        assert (left.dtype.str, left.shape, left.tobytes()) == (right.dtype.str, right.shape, right.tobytes())
    elif isinstance(left, dict):
        assert list(left) == list(right)
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, (list, tuple)):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    elif dataclasses.is_dataclass(left):
        for field in dataclasses.fields(left):
            assert_same(getattr(left, field.name), getattr(right, field.name))
    else:
        assert left == right


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda one: str(one)[:20].encode("ascii", "replace").decode())
def test_a_sample_comes_back_as_it_was(sample: Any) -> None:
    assert_same(returned(sample), sample)


@pytest.mark.parametrize("image", [IMAGES.permute(0, 3, 1, 2), IMAGES.to(memory_format=torch.channels_last), IMAGES.mT])
def test_axes_lie_in_memory_as_they_did(image: torch.Tensor) -> None:
    assert returned(image).stride() == image.stride()
    assert returned(image.numpy()).strides == image.numpy().strides


def test_what_comes_back_may_be_written_to() -> None:
    sample = returned((torch.ones(3), np.ones(3), torch.ones(3)))
    sample[0].add_(1)
    sample[1][:] = 5
    assert sample[2].tolist() == [1, 1, 1]


def test_the_output_of_a_tokenizer_comes_back_as_a_dictionary() -> None:
    class Encoding(UserDict):
        pass

    assert returned(Encoding(input_ids=[1, 2])) == {"input_ids": [1, 2]}


WRONG = {
    "image": (
        (1, {"x": Image.new("L", (2, 2))}),
        r"\[1\]\['x'\] is of type PIL.Image; give its pixels: numpy.asarray\(image\)",
    ),
    "path": ({"path": Path("a")}, r"\['path'\] is of type pathlib.PosixPath; give tensors"),
    "enum": (Color.RED, "give its plain value as int"),
    "objects": (np.array([None]), "an array of object"),
    "sparse": (torch.eye(2).to_sparse(), "a tensor that is sparse"),
    "keys": ({(1, 2): 3}, r"the key \(1, 2\); make keys text"),
    "class": ([torch.nn.Linear], r"\[0\] is of type type"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_kept_exactly_is_refused_by_its_place(kind: str) -> None:
    sample, message = WRONG[kind]
    with pytest.raises(NotStorable, match=message):
        encode(sample, {})


def test_a_class_that_is_not_there_is_named_and_no_module_is_imported_for_it() -> None:
    @dataclasses.dataclass
    class Local:
        x: int

    assert returned(Local(1), {f"{__name__}:{Local.__qualname__}": Local}) == Local(1)
    with pytest.raises(UserError, match="define it at the top of a module"):
        returned(Local(1))
    with pytest.raises(UserError, match="Popen of module subprocess is not there"):
        classes_of([("dataclass", "subprocess:Popen", ())], {})
