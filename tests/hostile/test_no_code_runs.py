"""Names, rows, settings and models that try to run something: nothing is started, opened or written beside the run.

Each case runs the real command in a process under an audit hook, which sees every exec, every process, every socket.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rung.cli.app import main

pytestmark = pytest.mark.hostile

NAMES = ["a;touch canary", "$(touch canary)", "`touch canary`", "--flag", "-o", "a\nb", "<script>alert(1)</script>"]
WATCHED = """
import json, sys
from rung.cli.app import main
import rung.run, rung.ladder.climb, rung.artifact
SEEN = {"os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect", "pickle.find_class"}
def hook(event, arguments):
    if event in SEEN and arguments[0] != "uname":  # Python's platform module asks for the processor's name
        sys.stderr.write(f"AUDIT {event} {arguments!r}\\n")
sys.addaudithook(hook)
print(json.dumps([main(words) for words in json.loads(sys.argv[1])]))
"""
CODE = "open('canary', 'w').close()\n"


def watched(folder: Path, *commands: list[str]) -> tuple[list[int], str]:
    """Run command lines one after another in `folder`; gives their exit codes and what they said."""
    command = [sys.executable, "-c", WATCHED, json.dumps(commands)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stderr, done.stderr
    assert "AUDIT" not in done.stderr, done.stderr
    assert not list(folder.rglob("*canary"))
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def rows(text: str, label: str, hostile: str, count: int = 60) -> str:
    """JSON lines with two labels, one of them hostile."""
    names = (hostile, "plain")
    made = [{text: f"row number {n} of many, {names[n % 2]}", label: names[n % 2]} for n in range(count)]
    return "".join(json.dumps(row) + "\n" for row in made)


def test_names_are_names(tmp_path: Path):
    """As a column, a label, a text, the data's file name, the run's name and its folder."""
    for number, name in enumerate(NAMES):
        data = f"{name.replace('/', ' ')} .jsonl"
        (tmp_path / data).write_text(rows(f"text {name}", name, name), encoding="utf-8")
        settings = {
            "data": {"train": data, "near_duplicates": False},
            "task": {"text": f"text {name}", "label": name},
            "method": "majority",
            "name": name,
            "output_dir": f"out/{number} {name.replace('/', ' ')} ",
        }
        (tmp_path / f"{number}.yaml").write_text(json.dumps(settings), encoding="utf-8")
    codes, said = watched(tmp_path, *(["train", f"{number}.yaml"] for number in range(len(NAMES))))
    assert codes == [0] * len(NAMES), said
    for number, name in enumerate(NAMES):
        folder = tmp_path / "out" / f"{number} {name.replace('/', ' ')} "
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        assert set(run["data"]["labels"]) == {name, "plain"}


def test_templates_that_reach_for_code_are_refused(tmp_path: Path):
    payloads = [
        "{{ cycler.__init__.__globals__.os.popen('touch canary').read() }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ lipsum.__globals__['os'].system('touch canary') }}",
        "{% for a in range(10**9) %}{{ text }}{% endfor %}",
    ]
    (tmp_path / "a.jsonl").write_text(rows("text", "label", "a"), encoding="utf-8")
    for number, payload in enumerate(payloads):
        settings = {"data": {"train": "a.jsonl"}, "task": {"template": payload}, "method": "majority"}
        (tmp_path / f"{number}.yaml").write_text(json.dumps(settings), encoding="utf-8")
    codes, said = watched(tmp_path, *(["train", f"{number}.yaml"] for number in range(len(payloads))))
    assert codes == [2] * len(payloads)
    for payload in payloads:
        assert f"error: task.template={payload!r} line 1: Call is not allowed here\n" in said


def test_models_that_bring_code_run_none(tiny_models: dict[str, Path], tmp_path: Path):
    """Pickled weights, code of the model's own, a shard outside its folder."""
    (tmp_path / "a.jsonl").write_text(rows("text", "label", "a"), encoding="utf-8")
    pickled, code, shard = (
        Path(shutil.copytree(tiny_models["bert"], tmp_path / name)) for name in ("pickled", "code", "shard")
    )
    (pickled / "model.safetensors").unlink()
    # The pickle of a call: os.system("touch canary").
    (pickled / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch canary'\ntR.")
    for name, classes in (("config", ("AutoModel", "AutoConfig")), ("tokenizer_config", ("AutoTokenizer",))):
        path = code / f"{name}.json"
        settings = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**settings, "auto_map": dict.fromkeys(classes, "evil.Evil")}), encoding="utf-8")
    (code / "evil.py").write_text(CODE, encoding="utf-8")
    shutil.move(shard / "model.safetensors", tmp_path / "secret.safetensors")
    index = {"metadata": {}, "weight_map": {"embeddings.word_embeddings.weight": "../secret.safetensors"}}
    (shard / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    train = ["train", "a.jsonl", "method=head_only", "training.num_train_epochs=1"]
    codes, said = watched(tmp_path, *([*train, f"model=./{name}"] for name in ("pickled", "shard", "code")))
    assert codes == [2, 2, 0], said
    assert said.startswith(
        "error: pickled: model.safetensors is missing. It has pytorch_model.bin, which is not read "
        "(safetensors only).\n  Name a folder with safetensors weights.\n"
        "error: shard/model.safetensors.index.json: '../secret.safetensors' is not a plain safetensors file name.\n"
        "  Do not trust this model.\n"
    )


def test_labels_are_no_markup_in_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    label = "<img src=x onerror=alert(1)>"
    Path("a.jsonl").write_text(rows("text", "label", label), encoding="utf-8")
    words = ["data.near_duplicates=false", "models=[]", "controls=[majority]", "learning_curve=false"]
    assert main(["climb", "a.jsonl", *words, "output_dir=$(touch canary)"]) == 0
    page = (tmp_path / "$(touch canary)" / "report.html").read_text(encoding="utf-8")
    assert label not in page
    assert not (tmp_path / "canary").exists()
