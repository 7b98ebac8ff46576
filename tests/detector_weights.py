"""Weight files of detectors, as their makers lay them out: true names and, unless tiny, true shapes; random numbers."""

import functools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import safetensors.torch
import torch
from torch import nn

from cnxs.controls.detectors.loading import auxiliary, quiet
from cnxs.registry import CONTROL_KINDS, DETECTORS


def random_tensors(network: nn.Module, *, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return tensors of a network's shapes: weights that keep signals alive, scales of norms 1, biases 0."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for key, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            tensors[key] = torch.zeros(tensor.shape, dtype=tensor.dtype)
        elif tensor.ndim > 1:
            tensors[key] = torch.randn(tensor.shape, generator=generator) * (2 / tensor[0].numel()) ** 0.5
        else:
            tensors[key] = torch.full(tensor.shape, 0.0 if key.endswith(("bias", "running_mean")) else 1.0)
    return tensors


def networks_of(kind: str) -> tuple[Callable[[], nn.Module], ...]:
    """Return what makes the networks of a kind drawn through controlnet-aux, one for each of its files."""
    norm = functools.partial(nn.InstanceNorm2d, affine=False, track_running_stats=False)
    settings = SimpleNamespace(
        mode="client", architecture="BN", pretrained="", sampling_ratio=0.4, importance_ratio=0.7
    )
    generator = auxiliary("lineart").Generator
    return {
        "soft_edge_hed": (auxiliary("hed").ControlNetHED_Apache2,),
        "soft_edge_pidinet": (auxiliary("pidi.model").pidinet,),
        "line_art_realistic": (lambda: generator(3, 1, 3),) * 2,
        "line_art_anime": (lambda: auxiliary("lineart_anime").UnetGenerator(3, 1, 8, 64, norm_layer=norm),),
        "normal": (lambda: auxiliary("normalbae.nets.NNET").NNET(settings),),
        "pose": (auxiliary("open_pose.model").bodypose_model,),
    }[kind]


def laid_out(kind: str, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Return what the published file of a kind holds for these tensors of its network."""
    match kind:
        case "soft_edge_hed":  # half precision
            return {key: tensor.half() for key, tensor in tensors.items()}
        case "soft_edge_pidinet":
            return {"epoch": 19, "state_dict": {f"module.{key}": tensor for key, tensor in tensors.items()}}
        case "line_art_anime":
            return {f"module.{key}": tensor for key, tensor in tensors.items()}
        case "normal":
            return {"model": {f"module.{key}": tensor for key, tensor in tensors.items()}}
        case "pose":
            return {key.partition(".")[2]: tensor for key, tensor in tensors.items()}
    return tensors


def write(kind: str, folder: Path) -> None:
    """Write the files of a kind drawn through controlnet-aux."""
    (name,) = CONTROL_KINDS[kind].weights
    for seed, (file, make) in enumerate(zip(DETECTORS[name].files, networks_of(kind), strict=True)):
        with torch.device("meta"), quiet():
            network = make()
        torch.save(laid_out(kind, random_tensors(network, seed=seed)), folder / file)


def write_model(kind: str, folder: Path, *, config: Any) -> None:
    """Write the folder of a kind drawn through transformers, with its weights as its repository has them."""
    import transformers

    model_class = {
        "depth_midas": transformers.DPTForDepthEstimation,
        "depth_anything": transformers.DepthAnythingForDepthEstimation,
        "segmentation": transformers.UperNetForSemanticSegmentation,
    }[kind]
    (name,) = CONTROL_KINDS[kind].weights
    target = folder / DETECTORS[name].folder
    target.mkdir(parents=True)
    config.save_pretrained(target)
    with torch.device("meta"):
        network = model_class(config)
    tensors = random_tensors(network)
    file = target / DETECTORS[name].files[1]
    if file.suffix == ".safetensors":
        safetensors.torch.save_file(tensors, file)
    else:
        torch.save(tensors, file)


def config_of(kind: str, *, tiny: bool, num_labels: int = 150) -> Any:
    """Return a model's configuration: the published one's, or the smallest that has all its parts."""
    import transformers

    if kind == "depth_midas":
        widths = {"embedding_size": 8, "hidden_sizes": [8, 16, 32, 64], "num_groups": 2} if tiny else {}
        backbone = transformers.BitConfig(
            layer_type="bottleneck",
            global_padding="same",
            depths=[1, 1, 1] if tiny else [3, 4, 9],
            out_features=["stage1", "stage2", "stage3"],
            embedding_dynamic_padding=True,
            **widths,
        )
        size = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64}
        return transformers.DPTConfig(
            is_hybrid=True,
            backbone_config=backbone,
            image_size=64 if tiny else 384,
            backbone_featmap_shape=[1, 32, 4, 4] if tiny else [1, 1024, 24, 24],
            backbone_out_indices=[0, 1, 2, 3] if tiny else [2, 5, 8, 11],
            reassemble_factors=[1, 1, 1, 0.5],
            neck_hidden_sizes=[8, 16, 32, 32] if tiny else [256, 512, 768, 768],
            fusion_hidden_size=16 if tiny else 256,
            **(size if tiny else {}),
        )
    if kind == "depth_anything":
        width = 32 if tiny else 384
        backbone = transformers.Dinov2Config(
            hidden_size=width,
            num_hidden_layers=4 if tiny else 12,
            num_attention_heads=2 if tiny else 6,
            image_size=518,
            patch_size=14,
            out_indices=[1, 2, 3, 4] if tiny else [3, 6, 9, 12],
            reshape_hidden_states=False,
        )
        return transformers.DepthAnythingConfig(
            backbone_config=backbone,
            reassemble_hidden_size=width,
            neck_hidden_sizes=[8, 8, 16, 16] if tiny else [48, 96, 192, 384],
            fusion_hidden_size=16 if tiny else 64,
        )
    backbone = transformers.ConvNextConfig(
        hidden_sizes=[8, 16, 24, 32] if tiny else [96, 192, 384, 768],
        depths=[1, 1, 1, 1] if tiny else [3, 3, 27, 3],
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    return transformers.UperNetConfig(
        backbone_config=backbone,
        hidden_size=16 if tiny else 512,
        auxiliary_in_channels=24 if tiny else 384,
        auxiliary_channels=8 if tiny else 256,
        num_labels=num_labels,
    )
