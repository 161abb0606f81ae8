from __future__ import annotations

import pytest

from rung.config.hashing import canonical_json, config_hash
from rung.config.loading import parse_yaml


def test_order_and_source_do_not_change_the_hash():
    given = {"b": [1, 2.0, None, True], "a": {"y": "é", "x": 1e-4}}
    read = parse_yaml("a: {x: 1e-4, y: é}\nb: [1, 2.0, ~, true]\n", "run.yaml")
    assert canonical_json(read) == '{"a":{"x":0.0001,"y":"é"},"b":[1,2.0,null,true]}'
    assert config_hash(given) == config_hash(read)


def test_the_hash_is_fixed():
    assert config_hash({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@pytest.mark.parametrize("other", [{"a": 2}, {"a": "1"}, {"a": 1.0}, {"a": True}, {"b": 1}, {"a": [1]}])
def test_different_settings_differ(other):
    assert config_hash({"a": 1}) != config_hash(other)


def test_what_is_not_plain_has_no_hash():
    with pytest.raises(ValueError, match="not JSON compliant"):
        config_hash({"a": float("nan")})
    with pytest.raises(TypeError):
        config_hash({"a": object()})
