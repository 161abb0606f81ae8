"""Refusals, before any weight is loaded."""

from __future__ import annotations

from rung.errors import ConfigError, IncompatibleError
from rung.methods.base import WeightMethod
from rung.methods.lora import Lora
from rung.methods.peft import Peft
from rung.models.devices import resolve_device
from rung.models.facts import ModelFacts
from rung.models.quantize import require_quantization
from rung.run.config import RunConfig, objective_for
from rung.run.selection import selection
from rung.run.start import adapter_folder, facts_of


def validate(config: RunConfig) -> ModelFacts | None:
    """Check that model, method, objective and task go together.

    Args:
        config: The run.

    Returns:
        What is known of the model without its weights; None for controls.

    Raises:
        IncompatibleError: They don't; with the reason.
        ConfigError: A setting is missing or conflicts with another.
        ModelError: The model can't be found.
    """
    if config.objective is not None and config.method.kind != "weights":
        raise ConfigError(
            f"objective={config.objective.name} with method={config.method.name}: it trains no weights",
            "Leave the objective out, or choose a method that trains weights.",
        )
    if config.method.kind == "control":
        _require_writer(config, "none")
        config.method.check("none", config.task.name)
        return None
    if config.model is None:
        raise ConfigError(f"method={config.method.name} needs a model", "Set model=, for example model=minilm-l6.")
    facts = facts_of(config.model)
    _require_writer(config, facts.kind)
    config.method.check(facts.kind, config.task.name)
    if facts.kind == "endpoint":
        _require_askable(config)
        return facts
    trains_model = isinstance(config.method, WeightMethod) and config.method.trains_model
    if trains_model and adapter_folder(config.model) is not None:
        raise IncompatibleError(
            f"method={config.method.name} on model={config.model}: its adapter is never merged into the weights below",
            "Train a lora on top of it, or fine-tune its base model.",
        )
    _require_frozen(config)
    if isinstance(config.method, WeightMethod):
        selection(config)
        _require_room(config.method, facts)
        config.method.require(facts, min(config.max_length, facts.max_length - config.method.virtual_tokens))
    objective = objective_for(config, facts.kind)
    if objective is not None:
        objective.check(facts.kind, config.task.name)
        method = config.method
        if isinstance(method, WeightMethod) and method.needs_head and not objective.needs_head:
            raise IncompatibleError(
                f"method={method.name} trains an output layer, and objective={objective.name} has none",
                "Set objective=classification, or choose lora or full.",
            )
    return facts


def _require_askable(config: RunConfig) -> None:
    """Refuse what an API can't be asked for."""
    if not getattr(config.method, "chat_template", True):
        raise ConfigError(
            "method.chat_template=false: a server lays chats out in its own way",
            "Leave it out, or set endpoint.api=completions, which sends plain text.",
        )
    if config.task.main.name == "loss":
        raise IncompatibleError(
            f"task.main_metric=loss: model={config.model} is behind an API, which tells no loss of a text",
            "Choose a metric of what it writes, such as token_f1.",
        )


def _require_frozen(config: RunConfig) -> None:
    """Refuse to quantise weights that are trained, or that a method computes with."""
    if config.quantization == "none":
        return
    method, asked = config.method, f"quantization={config.quantization} with method={config.method.name}"
    if isinstance(method, WeightMethod) and method.trains_model:
        raise IncompatibleError(
            f"{asked}: it trains the model's own weights, and quantised ones can't be trained",
            "Use lora, adapter, ia3, soft_prompt, prefix or head_only, or leave quantization out.",
        )
    if isinstance(method, Lora) and (method.use_dora or method.init_lora_weights == "pissa"):
        raise IncompatibleError(
            f"{asked}: use_dora and init_lora_weights=pissa compute with the frozen weights themselves",
            "Use plain LoRA, or leave quantization out.",
        )
    if isinstance(method, Peft):
        raise IncompatibleError(f"{asked}: it has not been tried", "Use lora, adapter or ia3.")
    require_quantization(config.quantization, resolve_device(config.device))


_LEAST_TEXT = 8
"""Tokens that must be left to a text beside what a method takes of the context."""


def _require_room(method: WeightMethod, facts: ModelFacts) -> None:
    """Refuse virtual tokens that leave no room for a text."""
    if method.virtual_tokens > facts.max_length - _LEAST_TEXT:
        raise ConfigError(
            f"method.num_virtual_tokens={method.virtual_tokens} leaves no room for a text: {facts.model_type} reads "
            f"{facts.max_length} tokens",
            f"Take at most {facts.max_length - _LEAST_TEXT}; 20 to 100 are usual.",
        )


def _require_writer(config: RunConfig, kind: str) -> None:
    """Refuse what can only name labels where a text is asked for."""
    if not config.task.writes:
        return
    if kind == "none":
        raise IncompatibleError(
            f"method={config.method.name} names one of a few labels, and task={config.task.name} asks for a text",
            "Use zero_shot, few_shot, lora or full with a decoder.",
        )
    if kind == "encoder":
        raise IncompatibleError(
            f"model={config.model} is an encoder, which reads texts and writes none: task={config.task.name} asks "
            "for a text",
            "Use a decoder, for example model=smollm2-135m-instruct.",
        )
