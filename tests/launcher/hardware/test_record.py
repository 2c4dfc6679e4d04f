"""The record goes to JSON and comes back equal, and a wrong file is refused by the path of its key."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slipway.launcher.hardware.record import SCHEMA_VERSION, Hardware
from slipway.training.common.errors import UserError
from slipway.training.common.json_records import json_schema
from tests.launcher.machines import machines

MACHINES = machines()
SCHEMA = json_schema(Hardware, SCHEMA_VERSION)


def text_of(name: str) -> str:
    return MACHINES[name].to_json()


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_round_trips_equal_and_validates_against_the_schema(name: str) -> None:
    hardware = MACHINES[name]
    assert Hardware.from_json(text_of(name), name) == hardware
    pytest.importorskip("jsonschema").Draft202012Validator(SCHEMA).validate(json.loads(text_of(name)))


def test_the_schema_refuses_unknown_and_missing_keys() -> None:
    validator = pytest.importorskip("jsonschema").Draft202012Validator(SCHEMA)
    data = json.loads(text_of("t4"))
    assert not validator.is_valid({**data, "gpus": []})
    del data["cpu"]["model"]
    assert not validator.is_valid(data)


def test_the_schema_is_itself_valid() -> None:
    validator = pytest.importorskip("jsonschema").Draft202012Validator
    assert validator(validator.META_SCHEMA).is_valid(SCHEMA)


def strategy_for_floats() -> st.SearchStrategy[float]:
    return st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_any_hardware_round_trips_equal_and_fits_the_schema(data: st.DataObject) -> None:
    st.register_type_strategy(float, strategy_for_floats())
    hardware = replace(data.draw(st.from_type(Hardware)), schema_version=1)
    text = hardware.to_json()
    assert Hardware.from_json(text) == hardware
    pytest.importorskip("jsonschema").validate(json.loads(text), SCHEMA)


def broken(change: object) -> str:
    data = json.loads(text_of("8xh100"))
    change(data)  # type: ignore[operator]
    return json.dumps(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(gpus=1), "m.json: unknown key 'gpus'"),
        (lambda d: d["cpu"].update(modle="x"), "unknown key 'cpu.modle' (did you mean 'model'?)"),
        (lambda d: d["cpu"].pop("model"), "missing key 'cpu.model'"),
        (lambda d: d["accelerators"][3].pop("uuid"), "missing key 'accelerators[3].uuid'"),
        (lambda d: d["accelerators"][0].update(index="x"), "accelerators[0].index: expected a whole number, got 'x'"),
        (lambda d: d["accelerators"][0].update(index=True), "accelerators[0].index: expected a whole number, got True"),
        (
            lambda d: d["accelerators"][0].update(index=None),
            "accelerators[0].index: expected a whole number, got nothing",
        ),
        (lambda d: d["accelerators"][0].update(kind="gpu"), "accelerators[0].kind: 'gpu' is none of cuda, rocm"),
        (lambda d: d["accelerators"][0].update(kind=["cuda"]), "accelerators[0].kind: ['cuda'] is none of cuda"),
        (lambda d: d["accelerators"][0].update(compute_capability=[9]), "compute_capability: expected a list of 2"),
        (lambda d: d["cpu"].update(usable_cpus=float("nan")), "cpu.usable_cpus: expected a number, got nan"),
        (lambda d: d["cpu"].update(usable_cpus=10**400), "cpu.usable_cpus: expected a number"),
        (lambda d: d["environment"]["variables"].update(A=[]), "environment.variables.A: expected text, got []"),
        (lambda d: d.update(links={}), "links: expected a list, got {}"),
        (lambda d: d.update(memory=[]), "memory: expected keys and values, got []"),
        (lambda d: d.update(schema_version=2), "schema_version is 2, this slipway reads 1"),
    ],
)
def test_a_wrong_file_is_refused_by_the_path_of_its_key(change: object, message: str) -> None:
    with pytest.raises(UserError) as raised:
        Hardware.from_json(broken(change), "m.json")
    assert message in str(raised.value)
    assert str(raised.value).startswith("m.json: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "[1", "[]", "null", '"x"', "{}", "[" * 100_000])
def test_what_is_no_record_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError, match=r"^m\.json: [^\n]*$"):
        Hardware.from_json(text, "m.json")


def test_a_whole_number_of_cpus_comes_back_as_the_same_number() -> None:
    hardware = Hardware.from_json(broken(lambda d: d["cpu"].update(usable_cpus=224)))
    assert hardware == MACHINES["8xh100"]
    assert type(hardware.cpu.usable_cpus) is float
