"""Tiny random models with real tokenizers, written as model folders: every family in a few kilobytes."""

from __future__ import annotations

import string
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = [
    "Classify the text. Answer with one of: good, bad, spam, ham, not spam.",
    "Classify the pair of texts. text: premise hypothesis",
    "user assistant system the film was a joy from start to end, warm and well played",
    "a dull plot, poor jokes and no heart: the worst evening in years",
    "free prize! call now to claim your reward", "are you home for dinner tonight?",
] * 4  # fmt: skip
VOCABULARY = 420


def build(folder: Path) -> dict[str, Path]:
    """Write the models under `folder`; gives name to model folder."""
    chat, plain = _chat_tokenizer(), _encoder_tokenizer()
    size, end = len(chat), chat.eos_token_id
    llama = LlamaConfig(
        vocab_size=size, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, bos_token_id=None, eos_token_id=end, pad_token_id=0,
        tie_word_embeddings=True,
    )  # fmt: skip
    gpt2 = GPT2Config(
        vocab_size=size, n_embd=32, n_layer=2, n_head=4, n_positions=256, bos_token_id=None, eos_token_id=end,
        pad_token_id=0,
    )  # fmt: skip
    bert = BertConfig(
        vocab_size=len(plain), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=256, pad_token_id=0,
    )  # fmt: skip
    spaced, bytewise = _t5_tokenizer(), _bart_tokenizer()
    t5 = T5Config(
        vocab_size=len(spaced), d_model=32, d_kv=8, d_ff=48, num_layers=3, num_decoder_layers=2, num_heads=4,
        pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    t5.decoder_start_token_id = 0
    bart = BartConfig(
        vocab_size=len(bytewise), d_model=32, encoder_layers=3, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=256,
    )  # fmt: skip
    made = {
        "llama": (LlamaForCausalLM, llama, chat),
        "gpt2": (GPT2LMHeadModel, gpt2, chat),
        "bert": (BertModel, bert, plain),
        "t5": (T5ForConditionalGeneration, t5, spaced),
        "bart": (BartForConditionalGeneration, bart, bytewise),
    }
    for number, (name, (model_class, config, tokenizer)) in enumerate(made.items()):
        torch.manual_seed(number)
        model = model_class(config)
        with torch.no_grad():  # as wide as trained weights (T5's are): answers differ visibly from row to row
            for weight in model.parameters():
                if weight.ndim == 2 and name != "t5":
                    weight.mul_(4)
        if name == "bart":
            model.generation_config.forced_bos_token_id = 0  # as its checkpoints have it
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return {name: folder / name for name in made}


def _chat_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    _learn(tokenizer, ["<pad>", "<|im_start|>", "<|im_end|>"], pre_tokenizers.ByteLevel.alphabet())
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<|im_end|>")
    wrapped.chat_template = CHATML
    return wrapped


def _t5_tokenizer() -> PreTrainedTokenizerFast:
    """Spaces are signs of their own, `</s>` ends both sides, and what it does not know is `<unk>`."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    _learn(tokenizer, ["<pad>", "</s>", "<unk>"], [*string.ascii_letters, *string.digits, *string.punctuation, "▁"])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def _bart_tokenizer() -> PreTrainedTokenizerFast:
    """`<s>` and `</s>` stand around both sides."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    _learn(tokenizer, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], pre_tokenizers.ByteLevel.alphabet())
    around = [("<s>", 0), ("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=around)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        mask_token="<mask>", model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def _learn(tokenizer: Tokenizer, special: list[str], alphabet: list[str]) -> None:
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)


def _encoder_tokenizer() -> PreTrainedTokenizerFast:
    # WordPiece training numbers its pieces anew each time; the corpus's words and letters are as good
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words = {word for text in CORPUS for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))}
    letters = {letter for word in words for letter in word}
    pieces = sorted(words | letters | {f"##{letter}" for letter in letters})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {piece: number for number, piece in enumerate([*special, *pieces])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip
