"""Any method of the PEFT library that changes layers, by the name of its kind.

`{type: peft, config: {peft_type: LOHA, r: 8, target_modules: [q_proj]}}`: the settings are those of the library's own
config class (https://huggingface.co/docs/peft). Methods that Rung has itself are better taken from it: they share
beginnings and fuse their steps in ways that the library's layers do not know.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, field_validator
from torch import nn

from rung.errors import ConfigError, IncompatibleError, nearest
from rung.methods.adapted import Adapted
from rung.methods.base import WeightMethod
from rung.methods.wrapping import matches
from rung.models.families import Family

_ADAPTER = "default"
"""The library's name for a model's only adapter."""


class PeftAdapted(Adapted):
    """A model into which the library has put its layers."""

    def __init__(self, family: Family, head: nn.Module | None, config: Any) -> None:
        from peft.tuners.tuners_utils import BaseTunerLayer

        own = {name: value for name, value in family.module.named_parameters() if value.requires_grad}
        super().__init__(family, head, own)
        self.config = config
        found = [path + "." for path, part in family.module.named_modules() if isinstance(part, BaseTunerLayer)]
        self.layers: list[Any] = [family.module.get_submodule(path.removesuffix(".")) for path in found]
        # What the library keeps of a layer's start, and saves beside the trained weights.
        self.kept = {
            name: value
            for name, value in family.module.state_dict().items()
            if name not in own
            and any(name.startswith(path) and not name.startswith(path + "base_layer.") for path in found)
        }

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Within: the model without the library's layers."""
        # Switching its layers off and on, the library also says what is trained.
        trained = {value: value.requires_grad for value in self.family.module.parameters()}
        for layer in self.layers:
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in self.layers:
                layer.enable_adapters(True)
            for value, was in trained.items():
                value.requires_grad_(was)

    def training(self, model_dropout: bool) -> None:
        """The library's layers have dropout of their own."""
        super().training(model_dropout)
        for layer in self.layers:
            layer.train()

    def resting(self) -> None:
        """What was put in drops nothing while a method above trains."""
        for layer in self.layers:
            layer.eval()

    def saved_name(self, name: str) -> str:
        """PEFT's name: without that of the adapter."""
        return "base_model.model." + ".".join(part for part in name.split(".") if part != _ADAPTER)

    def state(self) -> dict[str, torch.Tensor]:
        """The tensors under PEFT's names."""
        return {self.saved_name(name): value.detach() for name, value in (self.own | self.kept).items()}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Set the weights, and what the library keeps beside them.

        Raises:
            KeyError: When names or shapes differ.
        """
        given = dict(tensors)
        for name, value in self.kept.items():
            saved = self.saved_name(name)
            if saved in given and given[saved].shape == value.shape:
                value.copy_(given.pop(saved))
        super().load(given)

    def describe(self) -> dict[str, object]:
        """PEFT's `adapter_config.json`."""
        told = self.config.to_dict() | {"inference_mode": True}
        return json.loads(
            json.dumps(told, default=lambda value: sorted(value) if isinstance(value, set) else str(value))
        )


class Peft(WeightMethod):
    """Any method of PEFT that changes layers."""

    type: Literal["peft"] = "peft"
    default_learning_rate: ClassVar[dict[str, float]] = {"encoder": 1e-3, "decoder": 1e-3}

    config: dict[str, Any] = Field(default_factory=dict)
    """The library's settings, `peft_type` among them."""

    @field_validator("config")
    @classmethod
    def _known(cls, config: dict[str, Any]) -> dict[str, Any]:
        _build(config)
        return config

    def attach(self, family: Family, head: nn.Module | None, seed: int) -> PeftAdapted:
        """Freeze the model and let the library put its layers in.

        Raises:
            ConfigError: The library refuses the model or the settings, or a name matches nothing.
            IncompatibleError: An earlier run put the library's layers in, or they would stand in the word tables.
        """
        from peft import inject_adapter_in_model
        from peft.tuners.tuners_utils import BaseTunerLayer

        if any(isinstance(part, BaseTunerLayer) for part in family.module.modules()):
            raise IncompatibleError(
                "method=peft can't stand on an earlier run of its own", "Train a lora or an adapter on top of it."
            )
        family.module.requires_grad_(False)
        config = _build(self.config)
        _require_matches(config, family)
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(seed)
            try:
                inject_adapter_in_model(config, family.module, _ADAPTER)
            except (ValueError, TypeError, NotImplementedError) as error:
                raise ConfigError(
                    f"method.config: PEFT refuses it: {error}", "Change the settings it names."
                ) from error
        _require_tables_alone(family)
        return PeftAdapted(family, head, config)


def _require_matches(config: Any, family: Family) -> None:
    """The library goes on where one of several names matches nothing.

    Raises:
        ConfigError: A name matches no module; the nearest one is named.
    """
    wanted = getattr(config, "target_modules", None)
    if not isinstance(wanted, list | set | tuple):
        return
    paths = [path for path, _ in family.module.named_modules() if path]
    for name in sorted(wanted):
        if not any(matches(path, (name,)) for path in paths):
            match = nearest(name, {path.rsplit(".", 1)[-1] for path in paths})
            guess = f" Did you mean {match!r}?" if match else ""
            raise ConfigError(
                f"method.config.target_modules={name!r} matches no module of this model.{guess}",
                f"Its linear maps end in: {', '.join(sorted({path.rsplit('.', 1)[-1] for path in family.linears()}))}.",
            )


def _require_tables_alone(family: Family) -> None:
    """Words are embedded and predicted in one place for all methods, and often by one table (tied weights).

    Raises:
        IncompatibleError: The library put a layer there.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    tables = (("input", family.module.get_input_embeddings()), ("output", family.output))
    for name, part in tables:
        if isinstance(part, BaseTunerLayer | AuxiliaryTrainingWrapper):
            tied = getattr(family.module.config, "tie_word_embeddings", False)
            shared = " which is the other's too (tied weights)," if tied else ""
            raise IncompatibleError(
                f"method.config: {type(part).__name__} of PEFT stands in the {name} table of the words,{shared} and "
                "this table is never adapted",
                "Name maps of the repeated blocks in target_modules, or take method=full.",
            )


def _build(config: dict[str, Any]) -> Any:
    """The library's config object.

    Raises:
        ValueError: The kind or a setting is unknown, or the kind is not one that changes layers.
    """
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING

    kinds = {
        kind.value: PEFT_TYPE_TO_CONFIG_MAPPING[kind]
        for kind, tuner in PEFT_TYPE_TO_TUNER_MAPPING.items()
        if kind in PEFT_TYPE_TO_CONFIG_MAPPING and not getattr(tuner, "uses_shared_state", False)
    }
    kinds = {name: made for name, made in kinds.items() if name not in _OWN_OR_NOT_LAYERS}
    wanted = str(config.get("peft_type", "")).upper()
    if wanted not in kinds:
        match = nearest(wanted, kinds)
        guess = f" Did you mean {match}?" if match else ""
        raise ValueError(
            f"peft_type={config.get('peft_type')!r} can't be used here.{guess} There are: {', '.join(kinds)}"
        )
    known = {field.name for field in fields(kinds[wanted])}
    for name in config:
        if name not in known:
            match = nearest(name, known)
            guess = f" Did you mean {match!r}?" if match else ""
            raise ValueError(f"{kinds[wanted].__name__} of PEFT has no setting {name!r}.{guess}")
    if config.get("bias", "none") != "none":
        raise ValueError(f"bias={config['bias']!r} trains the model's own biases too: use method=bitfit for these")
    if config.get("modules_to_save"):
        raise ValueError(f"modules_to_save={config['modules_to_save']!r} trains copies of the model's own layers")
    settings = {name: value for name, value in config.items() if name not in {"peft_type", "inference_mode"}}
    return kinds[wanted](**settings)


_OWN_OR_NOT_LAYERS = frozenset(
    {
        *("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT", "CARTRIDGE"),
        *("ADAPTION_PROMPT", "SHADOW", "XLORA"),
    }
)
"""Kinds that put tokens before a text (soft_prompt and prefix are Rung's own) or are no layers in a model."""
