from __future__ import annotations

import pytest
from pydantic import ValidationError

from rung.data.settings import DataConfig


@pytest.mark.parametrize(
    "wrong",
    [
        {"test_size": 1},
        {"test_size": -0.1},
        {"validation_size": float("nan")},
        {"max_train_rows": 0},
        {"max_validation_rows": -1},
        {"max_test_rows": 1.5},
        {"rows_per_label": 0},
        {"split": "random"},
        {"format": "xls"},
        {"seed": -1},
        {"rows": 5},
    ],
)
def test_a_wrong_setting_is_refused(wrong: dict):
    with pytest.raises(ValidationError) as caught:
        DataConfig(train="a.csv", **wrong)
    assert caught.value.errors()[0]["loc"] == (next(iter(wrong)),)


def test_shares_must_leave_rows_to_train_on():
    with pytest.raises(ValidationError, match=r"test_size=0\.6 and validation_size=0\.4 leave no rows to train on"):
        DataConfig(train="a.csv", test_size=0.6, validation_size=0.4)


def test_one_file_can_not_be_two_splits():
    with pytest.raises(ValidationError, match=r"test=a\.csv is the same file as train: leave test out"):
        DataConfig(train="a.csv", test="a.csv")


def test_what_is_cut():
    assert DataConfig(train="a.csv").cut() == ("test", "validation")
    assert DataConfig(train="a.csv", test="b.csv").cut() == ("validation",)
    assert DataConfig(train="a.csv", validation="b.csv", test_size=0).cut() == ()
