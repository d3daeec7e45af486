"""Where to grasp a part: its large, flat, reachable regions, from above only."""

from __future__ import annotations

import torch

import unproject as up


def main(quick: bool = False) -> None:
    base, post = up.box((2.0, 1.2, 0.3), segments=4 if quick else 16), up.cylinder(0.3, 1.0)
    vertices = torch.cat([base.vertices, post.vertices + torch.tensor([0.5, 0.0, 0.6])])
    mesh = up.Mesh(vertices=vertices, faces=torch.cat([base.faces, post.faces + base.vertex_count]))
    for region in up.find_regions(mesh, up.RegionOptions(approach=(0.0, 0.0, -1.0), approach_deg=40.0)):
        place = ", ".join(f"{v:.2f}" for v in region.centre.tolist())
        print(f"centre ({place})  area {region.area:.2f}  room for a pad of radius {region.clearance:.2f}  score {region.score:.3f}")


if __name__ == "__main__":
    main()
