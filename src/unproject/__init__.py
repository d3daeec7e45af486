"""unproject: recover 3D from data. Surfaces from point clouds, object poses from images, and the differentiable operators beneath."""

from .camera.camera import Camera as Camera
from .errors import ArgumentError as ArgumentError
from .errors import DataError as DataError
from .errors import FormatError as FormatError
from .errors import UnprojectError as UnprojectError
from .geometry.material import Material as Material
from .geometry.mesh import Mesh as Mesh
from .geometry.mesh import make_mesh as make_mesh
from .geometry.points import PointCloud as PointCloud
from .geometry.points import make_points as make_points
from .io.load import load as load
from .io.load import load_mesh as load_mesh
from .io.load import load_points as load_points
from .io.load import save as save
from .geometry.bvh import Bvh as Bvh
from .geometry.bvh import build_bvh as build_bvh
from .geometry.bvh import refit as refit
from .geometry.query import ClosestPoint as ClosestPoint
from .geometry.query import RayHit as RayHit
from .geometry.query import closest_point as closest_point
from .geometry.query import occluded as occluded
from .geometry.query import ray_cast as ray_cast
from .geometry.isosurface import Isosurface as Isosurface
from .geometry.isosurface import marching_cubes as marching_cubes
