"""Tiny random pipelines of diffusers, in the architectures of Stable Diffusion and Flux."""

from pathlib import Path
from string import ascii_lowercase, digits

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from tokenizers import Tokenizer
from tokenizers.models import Unigram
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

LETTERS = ascii_lowercase + digits
START, END = "<|startoftext|>", "<|endoftext|>"


def save_tiny_stable_diffusion(folder: Path, seed: int = 0) -> Path:
    """Write a Stable Diffusion of 64 x 64 pixels to a folder, and return it."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        block_out_channels=(16, 32),
        layers_per_block=1,
        sample_size=32,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    _stable_diffusion(unet, _vae(latent_channels=4)).save_pretrained(folder)
    return folder


def save_stable_diffusion(folder: Path, width: int, side: int, seed: int = 0) -> Path:
    """Write a Stable Diffusion of the usual depth, and of a width, to a folder, and return it."""
    torch.manual_seed(seed)
    wide = [width, 2 * width, 3 * width, 3 * width]
    unet = UNet2DConditionModel(
        sample_size=side // 8,
        cross_attention_dim=32,
        attention_head_dim=8,
        block_out_channels=wide,
        layers_per_block=1,
    )
    vae = AutoencoderKL(
        block_out_channels=[width // 2, width, 2 * width, 2 * width],
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=side,
    )
    _stable_diffusion(unet, vae).save_pretrained(folder)
    return folder


def save_tiny_flux(folder: Path, seed: int = 0) -> Path:
    """Write a Flux to a folder, and return it."""
    torch.manual_seed(seed)
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
    )
    FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_vae(latent_channels=4, shift_factor=0.1),
        text_encoder=_clip(),
        tokenizer=_clip_tokenizer(),
        text_encoder_2=_t5(),
        tokenizer_2=_t5_tokenizer(),
        transformer=transformer,
    ).save_pretrained(folder)
    return folder


def save_tiny_lora(stable_diffusion: Path, file: Path, seed: int = 1) -> Path:
    """Write random LoRA weights for a tiny Stable Diffusion to a file, and return it."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel.from_pretrained(stable_diffusion / "unet")
    unet.add_adapter(LoraConfig(r=4, target_modules=["to_q", "to_v"], init_lora_weights=False))
    StableDiffusionPipeline.save_lora_weights(
        file.parent,
        unet_lora_layers=get_peft_model_state_dict(unet),
        weight_name=file.name,
    )
    return file


def _stable_diffusion(unet: UNet2DConditionModel, vae: AutoencoderKL) -> StableDiffusionPipeline:
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=_clip(),
        tokenizer=_clip_tokenizer(),
        unet=unet,
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _vae(latent_channels: int, **options: float) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(16, 32),
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        latent_channels=latent_channels,
        norm_num_groups=8,
        sample_size=64,
        **options,
    )


def _clip() -> CLIPTextModel:
    config = CLIPTextConfig(
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        hidden_size=32,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=2,
        projection_dim=32,
        max_position_embeddings=77,
        vocab_size=len(_clip_vocabulary()),
    )
    return CLIPTextModel(config).eval()


def _clip_vocabulary() -> dict[str, int]:
    words = [START, END, *LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    return {word: i for i, word in enumerate(words)}


def _clip_tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer(vocab=_clip_vocabulary(), merges=[], unk_token=END, model_max_length=77)


def _t5() -> T5EncoderModel:
    config = T5Config(
        vocab_size=len(LETTERS) + 3,
        d_model=32,
        d_kv=8,
        d_ff=37,
        num_layers=2,
        num_heads=4,
    )
    return T5EncoderModel(config).eval()


def _t5_tokenizer() -> PreTrainedTokenizerFast:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((x, -2.0) for x in LETTERS)]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(Unigram(pieces, unk_id=2)),
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=64,
    )
