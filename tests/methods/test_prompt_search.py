"""Prompt search against a scorer whose best prompt is known, and its parts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rung.errors import ConfigError
from rung.methods.bench import Bench, Limits
from rung.methods.prompt_search.candidates import Candidate
from rung.methods.prompt_search.method import PromptSearch
from rung.methods.prompt_search.proposers.base import Scene
from rung.methods.prompt_search.proposers.edit import WORDS, edit
from rung.methods.prompt_search.race import Rules, leaders, race, stages
from rung.methods.shots.selection import generator
from rung.methods.tuning import Memory, Tuning
from rung.run.judging import MetricJudge
from rung.tasks.classification import ClassificationConfig
from rung.types import Message, Prediction, Prompt, Record

TASK = ClassificationConfig(instruction="Decide what it is.").resolve(
    "text", None, "label", ("bad", "good"), ("text", "label")
)


def rows(count: int, seed: int = 0) -> list[Record]:
    return [
        Record(f"{seed}-{at}", {"text": f"row {at}", "label": ("bad", "good")[at % 2]}, f"a.csv:{at + 2}")
        for at in range(count)
    ]


class Known:
    """Answers each row right with a chance that the instruction decides, the same answer every time it is asked.

    Counts every evaluation, and says whether one was asked for twice.
    """

    max_length = 400

    def __init__(self, quality: Any) -> None:
        self.quality = quality
        self.asked: list[tuple[str, str]] = []

    def predict(self, records: Sequence[Record], prompt: Prompt) -> list[Prediction]:
        return [self._one(record, prompt) for record in records]

    def count_tokens(self, record: Record, prompt: Prompt) -> int:
        return sum(len(turn.content.split()) for turn in TASK.render(record, prompt).messages) + 1

    def _one(self, record: Record, prompt: Prompt) -> Prediction:
        self.asked.append((record.id, repr(prompt)))
        digest = hashlib.sha256(f"{record.id}|{prompt.instruction}|{len(prompt.shots)}".encode()).digest()
        right = int.from_bytes(digest[:4], "big") / 2**32 < self.quality(prompt)
        truth = str(TASK.truth(record) or "bad")
        label = truth if right else {"bad": "good", "good": "bad"}[truth]
        return Prediction(record.id, label, (0.5, 0.5))


def tuned(count: int = 128, seed: int = 0, **more: Any) -> Tuning:
    return Tuning(rows(count, seed), MetricJudge(TASK), Memory(), **more)


def entrants(*instructions: str) -> list[Candidate]:
    return [Candidate(replace(TASK.prompt, instruction=text), text) for text in instructions]


def test_stages_double_and_end_with_all_rows() -> None:
    assert stages(200, 16) == (16, 32, 64, 128, 200)
    assert stages(64, 16) == (16, 32, 64)
    assert stages(10, 16) == (10,)


def test_losers_leave_early_and_the_best_prompt_is_kept() -> None:
    quality = {"a": 0.95, "b": 0.9, "c": 0.3, "d": 0.25}
    scorer = Known(lambda prompt: quality[prompt.instruction])
    bench = Bench(scorer, TASK, tuned(256), 0, 256)
    runners, ended = race(bench, entrants("d", "c", "b", "a"), Rules(stages(256, 16), 0.9, False))
    assert not ended
    assert {one.candidate.origin for one in runners if one.dropped is not None} >= {"c", "d"}
    assert all(one.dropped is not None and one.dropped < 0 for one in runners[:2])
    assert max(one.rows for one in runners[:2]) <= 64
    best = leaders(runners, 1)[0]
    assert (best.candidate.origin, best.rows) == ("a", 256)
    assert bench.spent.evaluations == sum(one.rows for one in runners)
    assert len(scorer.asked) == len(set(scorer.asked)), "no evaluation is done twice"


@pytest.mark.parametrize("gap", [0.0, 0.05, 0.15])
def test_the_best_prompt_leaves_no_more_often_than_promised(gap: float) -> None:
    lost = 0
    for seed in range(60):
        quality = {"best": 0.75, **{f"other {number}": 0.75 - gap for number in range(4)}}
        bench = Bench(Known(lambda prompt, q=quality: q[prompt.instruction]), TASK, tuned(128, seed), 0, 128)
        runners, _ = race(bench, entrants(*quality), Rules(stages(128, 16), 0.9, False))
        lost += runners[0].dropped is not None
    # 60 races of which each may lose its best with a chance of 0.1: more than 11 has a chance below 0.02.
    assert lost <= 11, lost


def test_equal_prompts_all_stay() -> None:
    bench = Bench(Known(lambda prompt: 1.0), TASK, tuned(64), 0, 64)
    runners, _ = race(bench, entrants("a", "b", "c"), Rules(stages(64, 16), 0.9, False))
    assert [one.dropped for one in runners] == [None] * 3
    assert leaders(runners, 3) == runners, "of equals the first one wins"


def test_a_stage_that_the_budget_cuts_does_not_count() -> None:
    scorer = Known(lambda prompt: {"a": 0.7, "b": 0.75}[prompt.instruction])
    bench = Bench(scorer, TASK, tuned(64), 0, 64, Limits(evaluations=50))
    runners, ended = race(bench, entrants("a", "b"), Rules((16, 32, 64), 0.9, False))
    assert ended
    assert [one.rows for one in runners] == [16, 16]
    assert bench.spent.evaluations == len(scorer.asked) == 48


def better_with(*words: str) -> Any:
    return lambda prompt: 0.5 + 0.1 * sum(word in prompt.instruction.lower() for word in words)


def test_the_search_climbs_to_a_better_prompt_than_it_began_with() -> None:
    scorer = Known(better_with("carefully", "writer means", "expert"))
    method = PromptSearch.model_validate({"budget": {"evaluations": 6000}, "max_shots": 0, "calibration": False})
    tuning = tuned(128)
    prompt = method.fit(scorer, TASK, rows(40, 9), 3, tuning)
    found = tuning.found
    assert better_with("carefully", "writer means", "expert")(prompt) >= 0.7
    assert found["winner"]["score"] > found["prompts"][0]["score"]
    assert found["winner"]["low"] <= found["winner"]["score"] <= found["winner"]["high"]
    assert found["spent"]["evaluations"] <= 6000
    assert found["spent"]["evaluations"] == len(scorer.asked) == len(set(scorer.asked))
    assert {line["origin"].split()[0] for line in found["tried"]} >= {"plain", "delete", "add", "reword"}
    assert found["stopped"] in {"the budget ended", "nothing new was proposed"}
    assert json.loads(json.dumps(found)) == found


def test_the_same_seed_gives_the_same_search_and_a_journal_saves_all_of_it() -> None:
    method = PromptSearch.model_validate({"budget": {"evaluations": 1500}, "max_shots": 2})
    scorer = Known(better_with("carefully", "label"))
    tuning = tuned(64)
    prompt = method.fit(scorer, TASK, rows(40, 9), 3, tuning)
    again = tuned(64)
    assert method.fit(Known(scorer.quality), TASK, rows(40, 9), 3, again) == prompt
    replayed = Tuning(tuning.validation, tuning.judge, tuning.journal)
    idle = Known(scorer.quality)
    assert method.fit(idle, TASK, rows(40, 9), 3, replayed) == prompt
    assert idle.asked == []
    assert replayed.found == tuning.found
    assert method.fit(Known(scorer.quality), TASK, rows(40, 9), 4, tuned(64)) != prompt


def test_a_search_stopped_anywhere_goes_on_to_the_same_result() -> None:
    method = PromptSearch.model_validate({"budget": {"evaluations": 1200}, "max_shots": 2})
    whole = Known(better_with("carefully", "label"))
    tuning = tuned(64)
    prompt = method.fit(whole, TASK, rows(40, 9), 3, tuning)
    rivals = method.rivals(whole, TASK, rows(40, 9), 3, tuning)

    class Stop(Exception):
        pass

    for limit in (1, 40, 333, 900, 1500):
        journal = Memory()

        class Fragile(Known):
            def predict(self, records: Sequence[Record], prompt: Prompt, most: int = limit) -> list[Prediction]:
                if len(self.asked) >= most:
                    raise Stop
                return super().predict(records, prompt)

        first, second = Fragile(whole.quality), Known(whole.quality)
        part = Tuning(tuning.validation, tuning.judge, journal)
        with pytest.raises(Stop):
            method.fit(first, TASK, rows(40, 9), 3, part)
            method.rivals(first, TASK, rows(40, 9), 3, part)
        rest = Tuning(tuning.validation, tuning.judge, journal)
        assert method.fit(second, TASK, rows(40, 9), 3, rest) == prompt
        assert method.rivals(second, TASK, rows(40, 9), 3, rest) == rivals
        assert first.asked + second.asked == whole.asked, "nothing is evaluated twice, and in the same order"


def test_chance_gets_as_many_evaluations_as_the_search() -> None:
    scorer = Known(better_with("carefully"))
    method = PromptSearch.model_validate({"budget": {"evaluations": 900}})
    tuning = tuned(64)
    method.fit(scorer, TASK, rows(40, 9), 3, tuning)
    rivals = method.rivals(scorer, TASK, rows(40, 9), 3, tuning)
    assert set(rivals) == {"plain", "chance"}
    spent, other = tuning.found["spent"]["evaluations"], tuning.found["baseline"]["spent"]["evaluations"]
    assert other <= spent
    assert other > spent - 64 - 3
    off = method.model_copy(update={"baseline": False})
    assert set(off.rivals(scorer, TASK, rows(40, 9), 3, tuning)) == {"plain"}


class Author:
    """Writes the same sentence, whatever it is asked."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.chats: list[Sequence[Message]] = []

    def write(self, chats: Sequence[Sequence[Message]], max_new_tokens: int) -> list[str]:
        self.chats += chats
        return [self.text] * len(chats)

    def written_tokens(self, chats: Sequence[Sequence[Message]], texts: Sequence[str]) -> int:
        return 10 * len(chats)


@pytest.mark.parametrize(
    ("proposer", "asked"),
    [
        ("rewrite", ("These are instructions for one task", "Write one new instruction", "Decide what it is.")),
        ("reflect", ("It led to these mistakes:", "Text: row ", "Answer given: ", "Right answer: ")),
    ],
)
def test_what_a_model_writes_becomes_a_candidate(proposer: str, asked: tuple[str, ...]) -> None:
    author = Author('Instruction: "Read it with great care."\n\nI hope this helps!')
    scorer = Known(better_with("great care", "care", "read"))
    method = PromptSearch.model_validate(
        {"proposers": [{"type": proposer}], "budget": {"evaluations": 800}, "max_shots": 0, "calibration": False}
    )
    tuning = tuned(64, writer=lambda _: author)
    prompt = method.fit(scorer, TASK, rows(40, 9), 3, tuning)
    assert prompt.instruction == "Read it with great care. Answer with one of: bad, good."
    assert tuning.found["winner"]["origin"] == proposer
    assert all(part in author.chats[0][0].content for part in asked)
    assert tuning.found["spent"]["tokens"] > 10
    count = len(author.chats)
    method.fit(scorer, TASK, rows(40, 9), 3, Tuning(tuning.validation, tuning.judge, tuning.journal, lambda _: author))
    assert len(author.chats) == count, "what was written is in the journal"


def test_a_scorer_that_can_not_write_is_told_so() -> None:
    method = PromptSearch.model_validate({"proposers": [{"type": "rewrite"}], "budget": {"evaluations": 800}})
    with pytest.raises(ConfigError, match="rewrite and reflect need a model that writes, and this one only scores"):
        method.fit(Known(better_with("x")), TASK, rows(40, 9), 3, tuned(64))


def test_edits_change_one_thing_and_keep_the_text_in_place() -> None:
    bench = Bench(Known(better_with("x")), TASK, tuned(64), 0, 64)
    own = entrants("Decide what it is, and read it. Answer with one of: bad, good.")
    made: dict[str, Prompt] = {}
    for number in range(200):
        scene = Scene(bench, rows(20), own, [], [], 3, 200, generator(0, number))
        changed = edit(scene, own[0].prompt)
        if changed is not None:
            made[changed[1].split()[0]] = changed[0]
            assert changed[0] != own[0].prompt
            assert changed[0].template == own[0].prompt.template
    assert set(made) == {"delete", "swap", "reword", "add", "show"}
    assert len(made["show"].shots) == 1
    assert len({word for group in WORDS for word in group}) >= 20


def search(**settings: Any) -> PromptSearch:
    return PromptSearch.model_validate({"type": "prompt_search", **settings})


def test_a_prompt_that_does_not_fit_is_refused() -> None:
    method = search(prompts=["word " * 300 + "\n\n{{ text }}"], budget={"evaluations": 900})
    with pytest.raises(
        ConfigError, match=r"method\.prompts\[0\]: the prompt takes \d+ tokens without its text, and 200"
    ):
        method.fit(Known(better_with("x")), TASK, rows(40, 9), 3, tuned(64))


def test_a_budget_that_ends_before_any_comparison_says_so() -> None:
    method = search(budget={"tokens": 50})
    with pytest.raises(ConfigError, match=r"method\.budget ends before 2 prompts have answered 16 rows"):
        method.fit(Known(better_with("x")), TASK, rows(40, 9), 3, tuned(64))


def test_the_judge_compares_by_the_main_metric_with_bounds_that_are_never_too_fine() -> None:
    judge, records = MetricJudge(TASK), rows(40)
    truth = [str(TASK.truth(record)) for record in records]
    wrong = ["good" if label == "bad" else "bad" for label in truth]
    mixed = [*truth[:30], *wrong[30:]]
    ranking = judge.rank(records, [wrong, truth, mixed, truth], 0.95)
    assert ranking.scores == pytest.approx((0.0, 1.0, 0.75, 1.0))
    assert ranking.ceilings[1] == 0.0
    assert ranking.ceilings[3] == pytest.approx(1 - (0.05 / 3) ** (1 / 40)), "forty rows resolve no less"
    assert ranking.ceilings[0] < ranking.ceilings[2] < 0.1
    assert np.isclose(judge.interval(records, mixed)[0], 0.75)
