"""`unproject render`: pictures and turntables of meshes and point clouds."""

from __future__ import annotations

import dataclasses
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from torch import Tensor

from ..camera.camera import Camera, resize_camera
from ..errors import ArgumentError, FileAccessError
from ..geometry.material import Material
from ..geometry.mesh import Mesh
from ..geometry.points import PointCloud
from ..io.animation import ENDINGS, check_animation, save_animation
from ..io.atomic import atomic_write, write_all
from ..io.cameras import load_camera
from ..io.images import encode_png
from ..io.load import load
from ..io.options import LoadOptions
from ..render.appearance import make_appearance
from ..render.color import linear_from_srgb, srgb_from_linear
from ..render.discs import discs_from_points
from ..render.framing import frame_camera
from ..render.light import AmbientLight, DirectionalLight, Light
from ..render.points import point_radii, prepare_points, render_points
from ..render.render import RenderOptions, RenderResult, default_lights, render_mesh
from ..render.shade import Shading
from .light_file import load_lights
from .manners import Manners, Terminal

_FRAMES = 48  # of a turntable
_GREY = 0.72  # linear reflectance of what has no colour of its own
_DEPTH_STEPS = 60_000


@dataclass(frozen=True, kw_only=True)
class Options:
    files: tyro.conf.Positional[tuple[Path, ...]]
    """Meshes and point clouds: PLY, OBJ, STL, OFF, glTF/GLB, 3MF, PCD, XYZ and others."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The picture: .png, .jpg or .webp; .gif or .mp4 for a turntable. With several files, a folder: it gets one picture a file."""
    size: str | None = None
    """Pixels: 800, or WIDTHxHEIGHT. By default 512, or that of the camera file."""
    camera: Path | None = None
    """Camera JSON (fx, fy, cx, cy, width, height, camera_from_world), instead of framing by the angles below."""
    azimuth: float = 30.0
    """Degrees around the object; 0 looks at its front (+z, or -y with --up z), 90 at its left (+x)."""
    elevation: float = 20.0
    """Degrees above the horizon."""
    distance: float | None = None
    """From the object's middle, scene units; by default as near as fits."""
    fov: float = 30.0
    """Angle between the picture's top and bottom edge, degrees."""
    orthographic: bool = False
    """Parallel projection."""
    up: Literal["y", "z"] = "y"
    """Axis that points upwards."""
    turntable: int | None = None
    """Turn the object once in so many frames (.gif or .mp4); by default 48."""
    fps: float = 24.0
    """Frames a second of a turntable."""
    lights: str = "studio"
    """studio, headlight, none (the surface's own colours), or a JSON file: [{"type": "point", "position": [0, 2, 1]}, ...]."""
    shading: Literal["phong", "gouraud", "flat"] = "phong"
    """Whether light is computed for pixels, for corners, or for faces."""
    reflection: Literal["phong", "blinn_phong", "lambert"] = "phong"
    """Kind of highlight."""
    shadows: bool = False
    """Let faces keep light from each other."""
    raytrace: bool = False
    """See by rays instead of the rasterizer; a camera with lens distortion is seen so in any case."""
    cull: bool = False
    """Leave out faces seen from inside."""
    samples: int = 2
    """Samples a pixel, along each side; points have soft edges instead."""
    transparent: bool = False
    """Leave the background transparent (.png, .webp)."""
    background: str = "white"
    """Colour behind the object: a name or #rrggbb."""
    color: str | None = None
    """Colour of the object, instead of its own."""
    point_size: float = 1.0
    """Size of points, times that which closes an evenly sampled surface."""
    depth: bool = False
    """Also write NAME_depth.png: 16 bits, 0 for nothing; the result says how long a step is (depth_scale)."""
    normals: bool = False
    """Also write NAME_normals.png: (normal + 1) / 2 in world axes."""
    silhouette: bool = False
    """Also write NAME_silhouette.png."""
    allow_outside: bool = False
    """Let paths inside a file (materials, textures) lead out of its folder."""
    manners: Manners = field(default_factory=Manners)


@dataclass(frozen=True)
class _Plan:
    """What is the same for all files."""

    background: tuple[float, float, float]
    color: tuple[float, float, float] | None
    lights: tuple[Light, ...]
    shading: Shading
    render: RenderOptions
    camera: Camera | None


@dataclass(frozen=True)
class _Scene:
    """A file's contents, ready to be drawn: what a camera has to frame [N, 3], how many faces or points, and how to draw it."""

    points: Tensor
    facts: dict[str, int]
    draw: Callable[[Camera], RenderResult]


def run(options: Options, terminal: Terminal) -> dict[str, Any]:
    """Render every file and tell what was written."""
    plan = _plan(options)
    targets = _targets(options, terminal)
    done = []
    with terminal.progress() as progress:
        count = _frame_count(options)
        task = progress.add_task("render", total=len(options.files) * count)
        for source, target in zip(options.files, targets):
            progress.update(task, description=source.name)
            begin = time.perf_counter()
            facts = _render_file(source, target, plan, options, lambda: progress.advance(task))
            done.append({"file": source, **facts, "seconds": time.perf_counter() - begin})
    rows = [(str(d["file"]), ", ".join(str(p) for p in d["written"]), f"{d['seconds']:.2f} s") for d in done]
    terminal.table("Rendered", rows)
    return {"rendered": done}


def _render_file(source: Path, target: Path, plan: _Plan, options: Options, advance: Any) -> dict[str, Any]:
    with torch.no_grad():
        scene = _scene(load(source, LoadOptions(dtype=torch.float32, allow_outside=options.allow_outside)), plan, options, source)
        if target.suffix.lower() in ENDINGS:
            save_animation(_turn(scene, options, advance), target, fps=options.fps, overwrite=options.manners.overwrite)
            return {**scene.facts, "written": [target], "frames": _frame_count(options)}
        image = scene.draw(_framed(scene, options, options.azimuth) if plan.camera is None else plan.camera)
        facts = _save(image, target, options)
        advance()
        return {**scene.facts, **facts, "azimuth_deg": options.azimuth, "elevation_deg": options.elevation}


def _turn(scene: _Scene, options: Options, advance: Any) -> Iterator[np.ndarray]:
    """Frames of a turntable."""
    count = _frame_count(options)
    azimuth = options.azimuth + torch.arange(count) * (360.0 / count)
    cameras = _framed(scene, options, azimuth)
    for i in range(count):
        yield _bytes(scene.draw(cameras[i]).color)
        advance()


def _scene(value: Mesh | PointCloud, plan: _Plan, options: Options, source: Path) -> _Scene:
    """What to draw, with all that is the same for every view. Without any colour, or with --color, one grey."""
    count = value.point_count if isinstance(value, PointCloud) else value.face_count
    if count == 0:
        raise ArgumentError(f"{source}: nothing to draw, it has no faces and no points")
    if isinstance(value, PointCloud):
        cloud = prepare_points(value)
        radius = options.point_size * point_radii(cloud.positions)
        if not (plan.render.raytrace or plan.render.shadows):  # which only faces have
            return _Scene(cloud.positions, {"points": count}, _point_drawer(cloud, radius, plan))
        value = discs_from_points(cloud, radius=radius)
    mesh = _with_color(value, plan)
    look = make_appearance(mesh.materials, plan.shading)
    draw = lambda camera: render_mesh(mesh, camera, lights=plan.lights, shading=plan.shading, options=plan.render, appearance=look)
    return _Scene(mesh.vertices[mesh.faces.reshape(-1).unique()], {"faces": mesh.face_count}, draw)


def _point_drawer(cloud: PointCloud, radius: Tensor, plan: _Plan) -> Callable[[Camera], RenderResult]:
    if plan.color is not None or cloud.colors is None:
        shown = srgb_from_linear(torch.full((3,), _GREY)) if plan.color is None else torch.tensor(plan.color)
        cloud = dataclasses.replace(cloud, colors=shown.expand(cloud.point_count, 3))
    return lambda camera: render_points(
        cloud, camera, radius=radius, lights=plan.lights, shading=plan.shading, background=plan.render.background
    )


def _with_color(mesh: Mesh, plan: _Plan) -> Mesh:
    mesh = dataclasses.replace(mesh, materials=tuple(_without_haze(material) for material in mesh.materials))
    plain = mesh.vertex_colors is None and not mesh.materials and "colors" not in mesh.face_attributes
    if plan.color is None and not plain:
        return mesh
    chosen = torch.full((3,), _GREY) if plan.color is None else linear_from_srgb(torch.tensor(plan.color))
    material = Material(ambient=chosen, diffuse=chosen, specular=torch.full((3,), 0.08), shininess=torch.tensor(30.0))
    return dataclasses.replace(mesh, materials=(material,), face_materials=None, vertex_colors=None, face_attributes={})


def _without_haze(material: Material) -> Material:
    """Exponents below 1 come from files that mean a dull surface: their highlight would lie over everything that is lit."""
    if material.roughness is not None or float(material.shininess) >= 1.0:
        return material
    return dataclasses.replace(material, specular=torch.zeros(3), specular_texture=None)


def _framed(scene: _Scene, options: Options, azimuth: Any) -> Camera:
    """A camera that frames the scene; several for several azimuths."""
    return frame_camera(
        scene.points, image_size=(512, 512) if options.size is None else _size(options.size), azimuth_deg=azimuth,
        elevation_deg=options.elevation, fov_y_deg=options.fov, distance=options.distance, up_axis=options.up,
        orthographic=options.orthographic,
    )  # fmt: skip


def _plan(options: Options) -> _Plan:
    if not options.files:
        raise ArgumentError("name at least one file")
    if options.turntable is not None and options.camera is not None:
        raise ArgumentError("--turntable moves the camera by itself; leave out --camera")
    size = None if options.size is None else _size(options.size)
    camera = None
    if options.camera is not None:
        camera = load_camera(options.camera)
        camera = camera if size is None else resize_camera(camera, size)
    background = _rgb(options.background, "--background")
    lights = _lights(options.lights)
    reflection = "unlit" if options.lights == "none" else options.reflection
    shading = Shading(interpolation=options.shading, reflection=reflection, texture_filter="mipmap", ambient="diffuse")
    has_lens = camera is not None and (camera.distortion is not None or camera.projection == "fisheye")
    render = RenderOptions(
        background=background, supersampling=options.samples, cull_backfaces=options.cull, shadows=options.shadows,
        raytrace=options.raytrace or has_lens,
    )  # fmt: skip
    color = None if options.color is None else _rgb(options.color, "--color")
    return _Plan(background, color, lights, shading, render, camera)


def _lights(name: str) -> tuple[Light, ...]:
    if name in ("studio", "none"):
        return default_lights()
    if name == "headlight":
        return AmbientLight(color=(0.15, 0.15, 0.15)), DirectionalLight(direction=(0.0, 0.0, 1.0), color=(0.85, 0.85, 0.85), frame="camera")
    if not Path(name).suffix:
        raise ArgumentError(f"--lights must be studio, headlight, none or a JSON file, got {name!r}")
    return load_lights(name)


def _size(text: str) -> tuple[int, int]:
    """(height, width) of "800" or "WIDTHxHEIGHT"."""
    words = text.lower().split("x")
    if len(words) > 2 or not all(word.isdecimal() and 1 <= int(word) <= 32768 for word in words):
        raise ArgumentError(f"--size must be a number of pixels such as 800, or WIDTHxHEIGHT, got {text!r}")
    return int(words[-1]), int(words[0])


def _rgb(name: str, option: str) -> tuple[float, float, float]:
    from PIL import ImageColor

    try:
        red, green, blue = ImageColor.getrgb(name)[:3]
    except ValueError:
        raise ArgumentError(f"{option} must be a colour such as white or #4080c0, got {name!r}") from None
    return red / 255, green / 255, blue / 255


def _frame_count(options: Options) -> int:
    moving = options.output.suffix.lower() in ENDINGS or (len(options.files) > 1 and options.turntable is not None)
    return (options.turntable or _FRAMES) if moving else 1


def _targets(options: Options, terminal: Terminal) -> list[Path]:
    """Where each picture goes, checked before any work is done."""
    ending = options.output.suffix.lower()
    if options.turntable is not None and options.turntable < 1:
        raise ArgumentError(f"--turntable must be at least 1 frame, got {options.turntable}")
    if len(options.files) == 1 and not options.output.is_dir():
        if ending not in (".png", ".jpg", ".jpeg", ".webp", *ENDINGS):
            raise ArgumentError(f"{options.output}: the picture must end in .png, .jpg, .webp, .gif or .mp4")
        if options.turntable is not None and ending not in ENDINGS:
            raise ArgumentError(f"{options.output}: a turntable must end in .gif or .mp4")
        targets = [options.output]
    else:
        if ending and not options.output.is_dir():
            raise ArgumentError(f"{options.output}: with {len(options.files)} files, -o must be a folder")
        kind = ".gif" if options.turntable is not None else ".png"
        targets = _named(options.files, options.output, kind)
    if options.transparent and targets[0].suffix.lower() not in (".png", ".webp"):
        raise ArgumentError(f"--transparent needs .png or .webp, not {targets[0].suffix}")
    if targets[0].suffix.lower() in ENDINGS:
        check_animation(targets[0])
    if len(targets) > 1 or options.output.is_dir():
        try:
            options.output.mkdir(exist_ok=True)
        except OSError as error:
            raise FileAccessError(f"{options.output}: {error.strerror or error}") from error
    terminal.check_output(*(path for target in targets for path in (target, *(_beside(target, name) for name in _extras(options)))))
    return targets


def _named(files: tuple[Path, ...], folder: Path, ending: str) -> list[Path]:
    """A name for each file: its own, with the ending in it or a number behind it where that is taken."""
    taken: dict[str, int] = {}
    result = []
    for file in files:
        number = taken.get(file.stem, 0)
        taken[file.stem] = number + 1
        result.append(folder / f"{file.stem}{f'_{number + 1}' if number else ''}{ending}")
    return result


def _extras(options: Options) -> list[str]:
    return [name for name in ("depth", "normals", "silhouette") if getattr(options, name)]


def _beside(target: Path, name: str) -> Path:
    return target.with_name(f"{target.stem}_{name}.png")


def _save(image: RenderResult, target: Path, options: Options) -> dict[str, Any]:
    """Write the picture and what was asked for beside it."""
    facts: dict[str, Any] = {"written": [target], "covered": float(image.silhouette.mean())}
    pictures: dict[Path, bytes] = {target: _encoded(image.rgba if options.transparent else image.color, target)}
    if options.depth:
        scale = max(float(image.depth.max()), 1e-30) / _DEPTH_STEPS
        facts["depth_scale"] = scale
        pictures[_beside(target, "depth")] = _encode_depth(image.depth, scale)
    if options.normals:
        pictures[_beside(target, "normals")] = encode_png(torch.where(image.depth[..., None] != 0, 0.5 * image.normals + 0.5, 0))
    if options.silhouette:
        pictures[_beside(target, "silhouette")] = encode_png(image.silhouette[..., None])
    for path, data in pictures.items():
        with atomic_write(path, overwrite=options.manners.overwrite) as file:
            write_all(file, data)
    facts["written"] = list(pictures)
    return facts


def _encoded(image: Tensor, target: Path) -> bytes:
    from PIL import Image

    if target.suffix.lower() == ".png":
        return encode_png(image)
    stream = io.BytesIO()
    kind = {".webp": "WEBP"}.get(target.suffix.lower(), "JPEG")
    Image.fromarray(_bytes(image)).save(stream, format=kind, quality=92)
    return stream.getvalue()


def _encode_depth(depth: Tensor, scale: float) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    steps = (depth.double() / scale).round().clamp(0, 65535).numpy().astype(np.uint16)
    Image.fromarray(steps).save(stream, format="PNG")
    return stream.getvalue()


def _bytes(image: Tensor) -> np.ndarray:
    return (image.clamp(0, 1) * 255).round().to(torch.uint8).contiguous().numpy()
