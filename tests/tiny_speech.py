"""Random models of speech of some thousand parameters: a Whisper, and a VITS."""

import json
from pathlib import Path

import torch
from tokenizers import AddedToken
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    GenerationConfig,
    VitsConfig,
    VitsModel,
    VitsTokenizer,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

END, START, PREVIOUS, SILENT, PLAIN = (
    f"<|{name}|>"
    for name in ("endoftext", "startoftranscript", "startofprev", "nospeech", "notimestamps")
)
LANGUAGES = ("<|en|>", "<|de|>")
TASKS = ("<|translate|>", "<|transcribe|>")
N_TOKENS = 40
"""Of what is understood of a window."""
MEL_BINS = 16


def save_tiny_whisper(folder: Path, *, multilingual: bool = True, seed: int = 0) -> Path:
    """Write a Whisper that understands anything to a folder, and return it."""
    torch.manual_seed(seed)
    tokenizer = _whisper_tokenizer()
    ids = tokenizer.get_vocab()
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=MEL_BINS,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_target_positions=N_TOKENS + 8,
        init_std=0.5,
        decoder_start_token_id=ids[START],
        bos_token_id=ids[END],
        eos_token_id=ids[END],
        pad_token_id=ids[END],
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    network = WhisperForConditionalGeneration(config)
    several = {
        "lang_to_id": {name: ids[name] for name in LANGUAGES},
        "task_to_id": {name.strip("<|>"): ids[name] for name in TASKS},
    }
    network.generation_config = GenerationConfig(
        decoder_start_token_id=ids[START],
        bos_token_id=ids[END],
        eos_token_id=ids[END],
        pad_token_id=ids[END],
        max_length=N_TOKENS,
        no_timestamps_token_id=ids[PLAIN],
        prev_sot_token_id=ids[PREVIOUS],
        max_initial_timestamp_index=50,
        is_multilingual=multilingual,
        **(several if multilingual else {}),
    )
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=MEL_BINS).save_pretrained(folder)
    return folder


def _whisper_tokenizer() -> WhisperTokenizer:
    """Return a tokenizer of bytes, with Whisper's special tokens and timestamps."""
    letters = sorted(ByteLevel.alphabet())
    tokenizer = WhisperTokenizer(vocab={one: i for i, one in enumerate([*letters, END])}, merges=[])
    special = [START, *LANGUAGES, *TASKS, "<|startoflm|>", PREVIOUS, SILENT, PLAIN]
    tokenizer.add_tokens([AddedToken(one, special=True) for one in special], special_tokens=True)
    tokenizer.add_tokens([AddedToken(f"<|{i * 0.02:.2f}|>") for i in range(1501)])
    return tokenizer


def save_tiny_vits(folder: Path, *, n_voices: int = 1, seed: int = 0, **words: bool) -> Path:
    """Write a VITS that speaks small letters to a folder, and return it."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    letters = ["|", *"abcdefghijklmnopqrstuvwxyz' ", "<unk>"]
    (folder / "vocab.json").write_text(json.dumps({one: i for i, one in enumerate(letters)}))
    options = {"phonemize": False, "is_uroman": False, **words}
    tokenizer = VitsTokenizer(str(folder / "vocab.json"), pad_token="|", **options)
    config = VitsConfig(
        vocab_size=len(letters),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        ffn_dim=32,
        flow_size=16,
        spectrogram_bins=9,
        upsample_initial_channel=32,
        upsample_rates=[8, 4],
        upsample_kernel_sizes=[16, 8],
        resblock_kernel_sizes=[3, 5],
        resblock_dilation_sizes=[[1, 3], [1, 3]],
        prior_encoder_num_flows=2,
        prior_encoder_num_wavenet_layers=1,
        posterior_encoder_num_wavenet_layers=1,
        duration_predictor_num_flows=2,
        depth_separable_num_layers=1,
        duration_predictor_filter_channels=16,
        num_speakers=n_voices,
        speaker_embedding_size=8 if n_voices > 1 else 0,
        sampling_rate=16_000,
    )
    VitsModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
