"""Loading from a checkpoint folder: its family, processor and model; and the names that its weights
have in the file.

    family = family_of(path)                         # config.json is enough
    processor = load_processor(path, max_pixels=...)
    spec = find_spec(path, processor)                # what depends on the family
    model = load_model(path, "bfloat16")
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl.errors import ModelError, errors_as
from rl.models.spec import Dtype, ModelSpec, Part

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@cache
def families() -> dict[str, type[ModelSpec]]:
    """The family of each model_type that config.json may name, from the modules of
    rl/models/families: the folder is the registry.
    """
    from rl.models import families as package

    found: dict[str, type[ModelSpec]] = {}
    for module_info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{module_info.name}")
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == module.__name__:
                found |= dict.fromkeys(getattr(value, "model_types", ()), value)
    return found


def read_config(path: str | Path) -> dict[str, Any]:
    """The folder's config.json. Raises: ModelError if it is missing or no JSON object."""
    file = Path(path) / "config.json"
    if not Path(path).is_dir():
        raise ModelError("no such model folder", where=str(path), do="give a checkpoint folder")
    if not file.is_file():
        raise ModelError(
            "no config.json",
            where=str(path),
            expected="a Hugging Face checkpoint",
            do="give the folder of a checkpoint",
        )
    try:
        config = json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise ModelError(
            f"broken JSON ({error})",
            where=str(file),
            do="fetch the file again",
        ) from error
    if not isinstance(config, dict):
        raise ModelError(
            "not a JSON object",
            where=str(file),
            do="fetch the file again",
        )
    return config


def family_of(path: str | Path) -> type[ModelSpec]:
    """The family of the folder's model_type. Raises: ModelError if no family has that type."""
    model_type = read_config(path).get("model_type")
    known = families()
    if model_type not in known:
        raise ModelError(
            f"model_type {model_type!r} belongs to no known family",
            where=f"{path}/config.json",
            expected=f"one of {', '.join(sorted(known))}",
            do="add a file to rl/models/families",
        )
    return known[model_type]


def check_folder(path: str | Path) -> None:
    """Raises: ModelError naming every missing part of the checkpoint: weights, tokenizer,
    processor, chat template. Imports no model library, so it takes milliseconds.
    """
    folder, family = Path(path), family_of(path)
    missing = []
    if not any(folder.glob("*.safetensors")):
        missing.append("weights (*.safetensors)")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
        missing.append("tokenizer (tokenizer.json)")
    processors = ("preprocessor_config.json", "processor_config.json")
    if family.has_vision and not any((folder / name).is_file() for name in processors):
        missing.append("processor (preprocessor_config.json)")
    if not _has_chat_template(folder):
        missing.append("chat template (chat_template.jinja)")
    if missing:
        raise ModelError(
            f"the checkpoint lacks its {' and its '.join(missing)}",
            where=str(path),
            do="copy the missing files from the model this one was trained from",
        )


def _has_chat_template(folder: Path) -> bool:
    if any((folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    for name in ("tokenizer_config.json", "processor_config.json"):
        file = folder / name
        if file.is_file() and "chat_template" in json.loads(file.read_text()):
            return True
    return False


def load_processor(path: str | Path, max_pixels: int | None = None) -> Any:
    """The folder's processor, or its tokenizer if the model takes no images.

    `max_pixels` is written into the processor, and so into every checkpoint that it is saved with.
    Raises: ModelError if the folder is incomplete, or if the family cannot keep the limit.
    """
    check_folder(path)
    from transformers import AutoProcessor, AutoTokenizer

    family = family_of(path)
    loader = AutoProcessor if family.has_vision else AutoTokenizer
    with errors_as(
        ModelError,
        "the processor does not load: {error}",
        where=str(path),
        do="fetch the processor's files (preprocessor_config.json, tokenizer) again",
    ):
        processor = loader.from_pretrained(str(path))
    if max_pixels is not None:
        family.limit_pixels(processor, max_pixels)
    return processor


def find_spec(path: str | Path, processor: Any) -> ModelSpec:
    """The folder's ModelSpec, through its family."""
    return family_of(path)(read_config(path), processor)


def load_model(path: str | Path, dtype: Dtype = "float32", *, attention: str = "sdpa") -> Any:
    """The folder's model with its language-model head, without dropout.

    Raises: ModelError if the weights do not load, or if any is missing (transformers would draw it
    at random, with a warning).
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    family = family_of(path)
    loader = AutoModelForImageTextToText if family.has_vision else AutoModelForCausalLM
    with errors_as(
        ModelError,
        "the weights do not load: {error}",
        where=str(path),
        do="fetch the checkpoint again",
    ):
        model, info = loader.from_pretrained(
            str(path),
            dtype=getattr(torch, dtype),
            attn_implementation=attention,
            output_loading_info=True,
        )
    if info["missing_keys"]:
        names = sorted(info["missing_keys"])
        raise ModelError(
            f"{len(names)} weights are not in the checkpoint, first {names[0]}",
            where=str(path),
            do="fetch the checkpoint again: a file of it is missing or another model's",
        )
    turn_dropout_off(model)
    return model


def turn_dropout_off(model: torch.nn.Module) -> None:
    """Sets every dropout rate to 0: log-probs of different passes and engines are compared."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "dropout", "activation_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def freeze(
    model: torch.nn.Module, spec: ModelSpec | type[ModelSpec], parts: Sequence[Part]
) -> list[str]:
    """Takes parts out of training; returns the frozen parameters' names.

    "vision" is the tower without the projector, also in families whose projector is a module inside
    the tower. Raises: ModelError if the model has no such part.
    """
    unknown = [part for part in parts if part not in spec.parts]
    if unknown:
        raise ModelError(
            f"{spec.name} has no {unknown[0]!r} part to freeze",
            do="name a part that the model has under `model.freeze`",
        )
    frozen = []
    projector = spec.parts.get("projector", ())
    for name, parameter in model.named_parameters():
        part = "projector" if name.startswith(projector) else "vision"
        if part in parts and name.startswith(spec.parts[part]):
            parameter.requires_grad_(False)
            frozen.append(name)
    return frozen


def file_weights(model: Any, state: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The weights under the names that they have in the checkpoint file, tied ones once: what a
    publish writes. `state` replaces the model's own tensors.
    """
    state = dict(model.state_dict()) if state is None else state
    weights = under_file_names(model, without_tied(model, state))
    return {name: weight.detach().contiguous() for name, weight in weights.items()}


def weight_files(path: Path) -> list[Path]:
    """A safetensors file itself, or all of a checkpoint folder's."""
    return sorted(path.glob("*.safetensors")) if path.is_dir() else [path]


def weight_names(path: Path) -> frozenset[str]:
    """Names of the tensors in a safetensors file, or in all of a checkpoint folder's."""
    from safetensors import safe_open

    names: set[str] = set()
    for file in weight_files(path):
        with safe_open(str(file), framework="pt") as opened:
            names.update(opened.keys())
    return frozenset(names)


def without_tied(model: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The model's state without the copies of tied weights that the file leaves out."""
    from transformers.modeling_utils import remove_tied_weights_from_state_dict

    kept: dict[str, Tensor] = remove_tied_weights_from_state_dict(dict(state), model)
    return kept


def under_file_names(model: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state, or whole blocks of it, under the names of the checkpoint file.

    transformers renames weights when it loads some checkpoints. This is the way back that
    `save_pretrained` takes too, so that saved files and published weights have the same names.
    """
    from transformers.core_model_loading import revert_weight_conversion

    weights: dict[str, Tensor] = revert_weight_conversion(model, state)
    return weights


def empty_model(path: str | Path, dtype: Dtype = "float32") -> Any:
    """The folder's model without weights (on the meta device), from its config.json alone.

    Raises: ModelError if config.json is missing, or if transformers makes no model of it.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    family = family_of(path)
    maker = AutoModelForImageTextToText if family.has_vision else AutoModelForCausalLM
    with errors_as(
        ModelError,
        "config.json makes no model: {error}",
        where=str(path),
        do="check config.json against the model's",
    ):
        config = AutoConfig.from_pretrained(str(path))
        with torch.device("meta"):
            return maker.from_config(config, dtype=getattr(torch, dtype))
