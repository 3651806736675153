"""Tiny random models that see, of two architectures, as folders that transformers saved."""

from base64 import b64encode
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    ProcessorMixin,
)

from benchmarks.random_llama import save_tokenizer

TEMPLATE = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- for piece in message.content %}
{{- '<image>' if piece.type == 'image' else piece.text }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
MARKERS = ["<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>"]
MARKERS += [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
SIZE = 28


def llama(n_tokens: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=n_tokens,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,
        eos_token_id=1,
        pad_token_id=1,
        bos_token_id=None,
    )


def tokenizer_in(folder: Path) -> PreTrainedTokenizerFast:
    tokenizer = save_tokenizer(folder, 400)
    tokenizer.add_special_tokens({"additional_special_tokens": MARKERS})
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def save_llava(folder: Path) -> Path:
    """Save a LLaVA: CLIP before a Llama."""
    tokenizer = tokenizer_in(folder)
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIZE,
        patch_size=14,
        projection_dim=16,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=llama(len(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        tie_word_embeddings=False,
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}
        ),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        image_token="<image>",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
    return saved(folder, LlavaForConditionalGeneration, config, processor)


def save_idefics(folder: Path) -> Path:
    """Save an Idefics 3, which cuts a large picture into tiles: SigLIP before a Llama."""
    tokenizer = tokenizer_in(folder)
    config = Idefics3Config(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SIZE,
            "patch_size": 7,
        },
        text_config=llama(len(tokenizer)).to_dict(),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        tie_word_embeddings=False,
        pad_token_id=1,
    )
    processor = Idefics3Processor(
        image_processor=Idefics3ImageProcessorPil(
            size={"longest_edge": 2 * SIZE}, max_image_size={"longest_edge": SIZE}
        ),
        tokenizer=tokenizer,
        image_seq_len=4,
        chat_template=TEMPLATE,
    )
    return saved(folder, Idefics3ForConditionalGeneration, config, processor)


def saved(folder: Path, kind: type, config: object, processor: ProcessorMixin) -> Path:
    torch.manual_seed(0)
    network = kind(config).eval()
    network.generation_config.eos_token_id = 1
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def picture(colour: str, width: int = 40, height: int = 30) -> bytes:
    """Return a PNG with a border, in a colour."""
    image = Image.new("RGB", (width, height), "white")
    image.paste(colour, (4, 4, width - 4, height - 4))
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def base64(content: bytes) -> str:
    return b64encode(content).decode()
