"""What a weight file holds, told from its keys alone, so that a wrong one can be refused by its name."""

import re
from collections.abc import Iterable

from cnxs.errors import CheckpointError

# Error key -> all of these patterns must each match the start of some key. Order matters: the first that fits wins.
_KINDS: dict[str, tuple[str, ...]] = {
    "file_is_lora": (r"(.*\.)?(lora_(up|down|A|B|mid)\.|lora\.(up|down)\.|hada_w1_a|lokr_w1)|.*_lora\.(up|down)\.",),
    "file_is_controlnet_xs_old": (r"(down|up)_zero_convs_(in|out)\.",),
    "file_is_flux": (r"(.*\.)?(double_blocks|single_transformer_blocks|single_blocks)\.\d",),
    "file_is_sd3": (r"(.*\.)?joint_blocks\.\d|transformer_blocks\.\d+\.attn\.add_q_proj",),
    "file_is_ip_adapter": (r"(ip_adapter|image_proj)\.",),
    "file_is_controlnet": (r"controlnet_(down_blocks|mid_block|cond_embedding)\.|(control_model\.)?zero_convs\.\d",),
    "file_is_t2i_adapter": (r"(adapter\.)?body\.\d",),
    "file_is_checkpoint": (r"model\.diffusion_model\.",),
    "file_is_unet": (r"down_blocks\.0\.|input_blocks\.0\.", r"up_blocks\.0\.|output_blocks\.0\."),
    "file_is_vae": (r"(first_stage_model\.)?(encoder|decoder)\.(conv_in|conv_out)\.",),
    "file_is_text_encoder": (r"(text_model|transformer)\.|token_embedding\.",),
    "file_is_embedding": (r"(emb_params|clip_[gl]|string_to_param|<.*>)$",),
}


def kind_of(keys: Iterable[str]) -> str | None:
    """Return the error key that names what a file with these keys is; None for what is not known here.

    A ControlNet-XS, in any of the formats that are read, is not among the answers.
    """
    names = list(keys)
    for kind, patterns in _KINDS.items():
        if all(any(re.match(pattern, name) for name in names) for pattern in patterns):
            return kind
    return None


def refusal(keys: Iterable[str], *, file: str) -> CheckpointError:
    """Return the error that says what a file is, when it is no ControlNet-XS."""
    return CheckpointError(kind_of(keys) or "file_unknown", file=file)
