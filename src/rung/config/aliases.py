"""Other tools' names for our settings, so that a file written for them needs fewer edits.

A name counts only in a section that has the setting it stands for, and never hides a setting of its own name.
"""

from __future__ import annotations

from collections.abc import Mapping

from rung.config.shapes import Section

_NAMES: Mapping[str, tuple[str, ...]] = {
    # a run
    "model": ("base_model", "model_name_or_path", "model_name", "checkpoint_dir"),
    "models": ("base_models",),
    "data": ("dataset", "datasets"),
    "method": ("adapter", "finetuning_type", "tuner_type", "training_type"),
    "quantization": ("load_in_8bit", "load_in_4bit"),
    "output_dir": ("out_dir", "output", "project_name"),
    # data
    "train": ("path", "train_file", "dataset_path", "dataset_name", "train_split"),
    "validation": ("validation_file", "val", "valid", "dev", "valid_split", "eval_dataset"),
    "test": ("test_file", "test_split", "test_dataset"),
    "validation_size": ("val_size", "val_set_size", "split_dataset_ratio", "val_split_fraction"),
    "max_train_rows": ("max_samples", "max_train_samples"),
    "max_validation_rows": ("max_eval_samples", "max_validation_samples"),
    "max_test_rows": ("max_test_samples",),
    # task
    "text": ("text_column", "source", "input_column"),
    "label": ("label_column", "target_column", "target"),
    "prompt": ("prompt_column", "question_column"),
    "completion": ("completion_column", "response_column", "answer_column"),
    "max_new_tokens": ("max_gen_toks", "max_completion_length"),
    # training
    "learning_rate": ("lr", "max_lr"),
    "num_train_epochs": ("epochs", "num_epochs", "max_epochs", "n_epochs"),
    "per_device_train_batch_size": ("batch_size", "micro_batch_size", "train_batch_size"),
    "per_device_eval_batch_size": ("eval_batch_size",),
    "gradient_accumulation_steps": ("gradient_accumulation", "grad_accum", "accumulate_grad_batches"),
    "lr_scheduler_type": ("lr_scheduler", "scheduler"),
    "warmup_steps": ("warmup_ratio", "lr_warmup_steps", "lr_warmup_fraction", "num_warmup_steps"),
    "max_grad_norm": ("grad_clip", "gradient_clipping", "clip_grad_norm", "gradient_clip_val"),
    "weight_decay": ("wd",),
    "max_length": (
        "sequence_len",
        "cutoff_len",
        "max_seq_length",
        "max_seq_len",
        "model_max_length",
        "block_size",
    ),
    "max_predict_rows": ("max_predict_samples",),
    "packing": ("sample_packing", "neat_packing", "pack", "packed"),
    "seed": ("random_seed", "data_seed"),
    # methods
    "r": ("rank", "lora_r", "lora_rank"),
    "lora_alpha": ("alpha",),
    "lora_dropout": ("dropout",),
    "target_modules": ("lora_target_modules", "lora_target", "lora_attn_modules"),
    "num_virtual_tokens": ("prefix_length", "prompt_length", "num_prompt_tokens"),
    "num_shots": ("shots", "num_fewshot", "n_shots"),
}

ALIASES: Mapping[str, str] = {alias: name for name, aliases in _NAMES.items() for alias in aliases}
"""Another tool's name to ours."""

SHARES = frozenset({"warmup_ratio", "lr_warmup_fraction"})
"""Aliases that are always a share below 1, where our setting also takes a count."""

SWITCHES: Mapping[str, str] = {"load_in_8bit": "int8", "load_in_4bit": "nf4"}
"""Aliases that are true or false: true means this value of our setting, false says nothing."""


def canonical_name(section: Section, name: str) -> str | None:
    """The field of `section` that `name` stands for (dashes count as underscores), or None."""
    if name in section.model_fields:
        return name
    plain = name.replace("-", "_")
    return next((field for field in (plain, ALIASES.get(plain)) if field in section.model_fields), None)
