"""`rung data show` and `rung chat`: rows as the model sees them, and answers line by line."""

from __future__ import annotations

import io

import pytest

from rung.cli.app import main


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (
            ["method=zero_shot", "model=llama"],
            ["good.csv:", " prompt tokens", "<|im_start|>user\\nClassify the text.", "answer 'bad': bad<|im_end|>"],
        ),
        (["method=few_shot", "method.num_shots=1", "model=llama"], ["<|im_start|>assistant\\n", "answer 'good': "]),
        (["method=lora", "model=llama"], [" tokens, ", " supervised", "⟦", "<|im_end|>⟧"]),
        (["method=head_only", "model=bert"], ["[CLS]", "[SEP]", "0 supervised, target '"]),
    ],
)
def test_rows_are_shown_as_the_model_sees_them(words, wanted, climbed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.csv").symlink_to(climbed.data)
    for name, folder in climbed.models.items():
        (tmp_path / name).symlink_to(folder)
    assert main(["data", "show", "good.csv", *words, "data.near_duplicates=false", "-n", "2"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("good.csv:") == 2
    for part in wanted:
        assert part in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--split", "tset"], "unknown split 'tset'. Did you mean 'test'? Allowed: train, validation, test."),
        (["-n", "0"], "--rows 0: no row is asked for"),
        (["method=tfidf"], "method=tfidf has no tokens: it counts words"),
    ],
)
def test_what_can_not_be_shown_is_refused(words, message, climbed, capsys):
    usual = [] if any(word.startswith("method=") for word in words) else ["method=zero_shot"]
    model = f"model={climbed.models['llama']}"
    assert main(["data", "show", str(climbed.data), model, *usual, *words, "data.near_duplicates=false"]) == 2
    assert message in capsys.readouterr().err


def test_a_run_answers_line_by_line_from_a_pipe(place, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("lovely plot\ndull film\n\nnever read\n"))
    run = next(path for path in sorted(place.runs.iterdir()) if path.name.startswith("few_shot"))
    assert main(["chat", str(run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for line in lines:
        label = line.split()[0]
        assert label in {"good", "bad"}
        assert line.split("(")[1].startswith(f"{label} "), "the most probable label first"
        assert line.endswith("%)")


def test_a_search_is_a_rung_and_the_page_shows_what_it_tried(fresh, cli):
    search = {"type": "prompt_search", "budget": {"evaluations": 120}, "max_shots": 1, "first_rows": 8, "width": 2}
    curve = {"type": "few_shot", "num_shots": [1, 2], "max_validation_rows": 8}
    llama = {"name": str(fresh.models["llama"]), "methods": [search, curve, {"type": "lora", "r": 2}]}
    done = cli("climb", fresh.write(models=[llama], training={"num_train_epochs": 1}))
    assert done.returncode == 0, done.stderr
    assert fresh.statuses() == dict.fromkeys(
        ["majority", "few_shot-llama", "prompt_search-llama", "lora-llama"], "finished"
    )
    assert [rung["name"] for rung in fresh.report()["rungs"]][1:3] == ["few_shot-llama", "prompt_search-llama"]
    page = (fresh.out / "report.html").read_text(encoding="utf-8")
    for part in ("Prompts that were tried", "Prompt search against the best of ", "quality by number of examples"):
        assert part in page
    assert "requests on, " in page or "however many requests there are" in page
    assert "Prompt search against the task" in done.stderr


def test_rows_are_checked_without_a_model(tmp_path, capsys):
    rows = ["prompt,completion", *(f"what is {n} plus {n * 7}?,it is {n * 8}" for n in range(30)), "why?,---"]
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(rows), encoding="utf-8")
    whole = ["data.test_size=0", "data.validation_size=0"]
    words = ["data", "check", f"data.train={path}", *whole, "task=generation", "model=nowhere/at-all"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert f"{path}: 31 rows: " in said
    assert "whose answer holds no letter or digit: 1, kept (data.clean.drop=[empty] would remove them)" in said
    assert main([*words, "data.clean.drop=[empty]"]) == 0
    assert "1 removed for an answer that says nothing" in capsys.readouterr().out
    assert main([*words, "data.clean.drop=[emptyy]"]) == 2
    assert "empty" in capsys.readouterr().err
