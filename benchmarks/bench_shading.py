"""Shading: a textured picture with highlights at 512 px, its parts and options, forward and with gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import torch
from harness import Table, parse_arguments, time_all, write_json, write_results

import unproject as up


def textured_torus(segments: tuple[int, int], side: int) -> up.Mesh:
    """A torus with one UV a vertex and a random texture of side x side texels."""
    mesh = up.torus(segments=segments)
    material = up.Material(diffuse_texture=torch.rand(side, side, 3), specular=torch.full((3,), 0.3), shininess=torch.tensor(20.0))
    return dataclasses.replace(mesh, uvs=mesh.vertices[:, :2].clone(), materials=(material,))


def pictures(segments: tuple[int, int], size: int) -> Table:
    mesh = textured_torus(segments, 1024)
    camera = up.frame_camera(mesh.vertices, image_size=(size, size), elevation_deg=60.0)
    lights = [up.AmbientLight(color=(0.2,) * 3), up.PointLight(position=(2.0, 3.0, 2.0)), up.PointLight(position=(-3.0, 2.0, 2.0))]
    mipmap = up.Shading(texture_filter="mipmap")
    look = up.make_appearance(mesh.materials, mipmap)
    covered = float(up.render_mesh(mesh, camera).silhouette.mean())
    table = Table(f"Textured picture, {mesh.face_count} faces, {size} px, {covered:.0%} covered, two point lights", ["unproject"])

    def draw(**how: object) -> None:
        with torch.no_grad():
            up.render_mesh(mesh, camera, lights=lights, **how)  # type: ignore[arg-type]

    def gradients() -> None:
        texels = mesh.materials[0].diffuse_texture.clone().requires_grad_()  # type: ignore[union-attr]
        vertices = mesh.vertices.clone().requires_grad_()
        material = dataclasses.replace(mesh.materials[0], diffuse_texture=texels)
        moved = dataclasses.replace(mesh, vertices=vertices, materials=(material,))
        up.render_mesh(moved, camera, lights=lights).color.square().sum().backward()

    rows: dict[str, Callable[[], object]] = {
        "rasterize alone": partial(up.rasterize, mesh.vertices, mesh.faces, camera),
        "ray trace alone, tree given": partial(up.raytrace, mesh.vertices, mesh.faces, camera, bvh=up.build_bvh(mesh.vertices, mesh.faces)),
        "Phong": draw,
        "Phong, values taken as linear": partial(draw, shading=up.Shading(color_space="linear")),
        "Gouraud": partial(draw, shading=up.Shading(interpolation="gouraud")),
        "flat": partial(draw, shading=up.Shading(interpolation="flat")),
        "unlit": partial(draw, shading=up.Shading(reflection="unlit")),
        "Phong, mipmap prepared": partial(draw, shading=mipmap, appearance=look),
        "Phong, antialiased": partial(draw, options=up.RenderOptions(antialias=True)),
        "Phong, 2 x 2 samples": partial(draw, options=up.RenderOptions(supersampling=2)),
        "Phong, ray traced": partial(draw, options=up.RenderOptions(raytrace=True)),
        "Phong, hard shadows": partial(draw, options=up.RenderOptions(shadows=True)),
        "Phong, with gradients of vertices and texels": gradients,
    }
    for label, milliseconds in time_all(rows, seconds=0.7, repeat=12).items():
        table.add(label, {"unproject": milliseconds})
    return table


def main() -> None:
    options = parse_arguments(__doc__)
    tables = [pictures((24, 16), 128)] if options.quick else [pictures((77, 39), 512)]
    write_json(options.json, tables)
    if options.write:
        write_results("bench_shading", tables)


if __name__ == "__main__":
    main()
