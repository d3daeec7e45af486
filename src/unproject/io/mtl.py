"""MTL material libraries: reading and writing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..geometry.material import Material
from .images import load_texture
from .source import Source, warn_file

_COLORS = {"ka": "ambient", "kd": "diffuse", "ks": "specular", "ke": "emissive"}
_SCALARS = {"ns": "shininess", "d": "opacity", "pr": "roughness", "pm": "metallic"}
TEXTURES = {
    "map_kd": ("map_Kd", "diffuse_texture", 0),
    "map_ks": ("map_Ks", "specular_texture", 3),
    "map_ke": ("map_Ke", "emissive_texture", 3),
    "map_pr": ("map_Pr", "roughness_texture", 1),
    "map_pm": ("map_Pm", "metallic_texture", 1),
    "map_d": ("map_d", "opacity_texture", 1),
    "map_ao": ("map_ao", "occlusion_texture", 1),
    "norm": ("norm", "normal_texture", 3),
    "map_kn": ("norm", "normal_texture", 3),
}
"""Keywords of textures: how they are spelled when written, the field of Material, and its channels (0: 3 or 4)."""

OPTION_LENGTHS = {
    "-blendu": 1, "-blendv": 1, "-boost": 1, "-mm": 2, "-bm": 1, "-clamp": 1, "-texres": 1, "-type": 1, "-imfchan": 1, "-cc": 1,
    "-colorspace": 1, "-o": 3, "-s": 3, "-t": 3,
}  # fmt: skip
"""Options of a texture statement and how many values they have; -o, -s and -t have one to three."""


def parse_mtl(data: bytes, source: Source, *, load_textures: bool) -> dict[str, Material]:
    """The materials of a library by name, in the order of the file. What cannot be understood is left out, with a warning.

    Args:
        source: the model file, for messages and the images beside it.
        load_textures: whether to read the images.
    """
    materials: dict[str, Material] = {}
    fields: dict[str, Any] | None = None
    images: dict[str, Tensor | None] = {}
    for line in _lines(data):
        keyword, _, rest = line.partition(" ")
        rest = rest.strip()
        if keyword.lower() == "newmtl":
            _finish(materials, fields)
            fields = {"name": rest, "texture_paths": (), "parameters": ()}
        elif fields is not None:
            try:
                _statement(fields, keyword, rest, source, images if load_textures else None)
            except ValueError:
                warn_file(source.path, f"the MTL statement {line[:60]!r} of material {fields['name']!r} is not understood")
    _finish(materials, fields)
    return materials


def _lines(data: bytes) -> list[str]:
    """The statements: continued lines joined, blanks made single spaces at the keyword, comments and empty lines left out."""
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    text = text.replace("\\\r\n", " ").replace("\\\n", " ")
    lines = []
    for line in text.splitlines():
        line = line.strip().strip("\0")
        if line and not line.startswith("#"):
            words = line.split(None, 1)
            lines.append(f"{words[0]} {words[1]}" if len(words) == 2 else line)
    return lines


def _finish(materials: dict[str, Material], fields: dict[str, Any] | None) -> None:
    if fields is None:
        return
    transparency = fields.pop("transparency", None)
    if "opacity" not in fields and transparency is not None:
        # Tr is 1 - d, but MeshLab and others write it for d: a material that nobody could see is taken to mean that.
        fields["opacity"] = torch.tensor(1.0 - transparency if transparency < 1.0 else 1.0)
    materials.setdefault(fields["name"], Material(**fields))


def _statement(fields: dict[str, Any], keyword: str, rest: str, source: Source, images: dict[str, Tensor | None] | None) -> None:
    key = keyword.lower()
    if key in _COLORS:
        color = _color(rest)
        if color is None:
            fields["parameters"] += ((keyword, rest),)
        else:
            fields[_COLORS[key]] = color
    elif key in _SCALARS:
        words = rest.split("#")[0].split()
        value = float(words[1] if words[:1] == ["-halo"] else words[0]) if words else _fail()
        fields[_SCALARS[key]] = torch.tensor(value)
    elif key == "tr":
        fields["transparency"] = float(rest.split()[0]) if rest else _fail()
    elif key in TEXTURES:
        _texture(fields, key, rest, source, images)
    else:
        fields["parameters"] += ((keyword, rest),)


def _fail() -> float:
    raise ValueError


def _color(rest: str) -> Tensor | None:
    """One or three numbers; None for a spectral curve. CIE XYZ becomes linear sRGB."""
    words = rest.split("#")[0].split()
    if not words or words[0].lower() == "spectral":
        return None if words else torch.full((3,), _fail())
    is_xyz = words[0].lower() == "xyz"
    values = [float(word) for word in words[1 if is_xyz else 0 :][:3]]
    if len(values) not in (1, 3):
        raise ValueError
    color = torch.tensor(values if len(values) == 3 else values * 3)
    if is_xyz:
        matrix = [[3.2404542, -1.5371385, -0.4985314], [-0.9692660, 1.8760108, 0.0415560], [0.0556434, -0.2040259, 1.0572252]]
        color = torch.tensor(matrix) @ color
    return color


def _texture(fields: dict[str, Any], key: str, rest: str, source: Source, images: dict[str, Tensor | None] | None) -> None:
    written, field, channels = TEXTURES[key]
    name, options = split_texture(rest)
    if not name:
        raise ValueError
    fields["texture_paths"] += ((written, Path(name)),)
    if options:
        fields["parameters"] += ((f"{written} options", options),)
    if images is None or field in fields:
        return
    if name not in images:
        images[name] = load_texture(source, name)
    image = images[name]
    if image is not None:
        fields[field] = image if channels == 0 else image[:, :, :channels]


def split_texture(rest: str) -> tuple[str, str]:
    """(file name, options) of a texture statement. Names may have spaces; options may stand before and behind them."""
    words = rest.split(" ")
    words = [w for w in words if w] if any(w.startswith("-") for w in words) else [rest.strip()]
    options: list[str] = []
    name: list[str] = []
    k = 0
    while k < len(words):
        length = OPTION_LENGTHS.get(words[k].lower())
        if length is None:
            name.append(words[k])
            k += 1
            continue
        take = 1
        while take <= length and k + take < len(words) and (length < 3 or _is_number(words[k + take])):
            take += 1
        options += words[k : k + take]
        k += take
    return " ".join(name).strip().strip('"'), " ".join(options)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def material_names(materials: Sequence[Material]) -> list[str]:
    """A name for each material to be written under: its own, made unique."""
    names: list[str] = []
    for index, material in enumerate(materials):
        name = " ".join(material.name.split()) or f"material_{index}"
        names.append(name if name not in names else f"{name}_{index}")
    return names


def format_mtl(materials: Sequence[Material], names: Sequence[str], files: Mapping[tuple[int, str], str]) -> bytes:
    """A library with these materials.

    Args:
        names: what each material is called.
        files: the file of each texture, by index of the material and keyword ("map_Kd").
    """
    lines = ["# unproject"]
    for index, material in enumerate(materials):
        lines += ["", f"newmtl {names[index]}"]
        for keyword, value in (("Ka", material.ambient), ("Kd", material.diffuse), ("Ks", material.specular), ("Ke", material.emissive)):
            if keyword != "Ke" or bool((value != 0).any()):
                lines.append(f"{keyword} {' '.join(_text(v) for v in value.detach().cpu().reshape(-1).tolist())}")
        scalars = (("Ns", material.shininess), ("d", material.opacity), ("Pr", material.roughness), ("Pm", material.metallic))
        lines += [f"{keyword} {_text(float(value.detach()))}" for keyword, value in scalars if value is not None]
        options = {k.removesuffix(" options"): v for k, v in material.parameters if k.endswith(" options")}
        lines += [" ".join(f"{k} {v}".split()) for k, v in material.parameters if not k.endswith(" options")]
        for (owner, keyword), name in files.items():
            if owner == index:
                lines.append(" ".join([keyword, *options.get(keyword, "").split(), name]))
    return ("\n".join(lines) + "\n").encode()


def _text(value: float) -> str:
    return f"{value:.9g}"
