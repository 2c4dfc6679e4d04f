"""Passwords and tokens do not reach what is written, and what only looks like one stays."""

from __future__ import annotations

import pytest

from slipway.training.common.program.redaction import command_without_secrets, is_secret, without_secrets

_TOKEN = "hf_" + "aBcD1234" * 4


@pytest.mark.parametrize(
    "name",
    [
        "--hf-token",
        "HF_TOKEN",
        "WANDB_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "--password",
        "wandb.api_key",
        "apikey",
        "DB_PASSWD",
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "--tokenizer",
        "--max-tokens",
        "--pad-token",
        "eos_token",
        "--key",
        "--keypoints",
        "TOKENIZERS_PARALLELISM",
        "PWD",
    ],
)
def test_names_of_options_that_are_none(name: str) -> None:
    assert not is_secret(name)


def test_a_command_keeps_its_words_and_loses_the_values_of_its_secrets() -> None:
    words = [
        "--lr",
        "1e-3",
        "--hf-token",
        "plain",
        "--api-key=abc",
        "--pad-token",
        "<pad>",
        "--password",
        "--quick",
        _TOKEN,
    ]
    assert command_without_secrets(words, {}) == [
        *("--lr", "1e-3", "--hf-token", "***", "--api-key=***", "--pad-token", "<pad>", "--password", "--quick", "***"),
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://ada:secret@host/x.csv", "https://***@host/x.csv"),
        ("https://ada:se%20c@host:80/x@y", "https://***@host:80/x@y"),
        ("s3://bucket/a?X-Amz-Signature=abcdef&part=1", "s3://bucket/a?X-Amz-Signature=***&part=1"),
        (f"with {_TOKEN}.", "with ***."),
        ("the value planted-1234 of a variable", "the value *** of a variable"),
        (
            "hub:user/data, ada@host, runs/hf_small, a validation",
            "hub:user/data, ada@host, runs/hf_small, a validation",
        ),
    ],
)
def test_a_text_loses_addresses_tokens_and_values_of_the_environment(text: str, shown: str) -> None:
    environment = {"MY_TOKEN": "planted-1234", "OTHER_TOKEN": "hub", "SPLIT_TOKEN": "validation", "HOME": "/home/ada"}
    assert without_secrets(text, environment) == shown
