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
