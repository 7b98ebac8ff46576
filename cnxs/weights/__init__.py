"""What models there are, where they are, and how to get them. Loads without torch."""

from cnxs.weights.downloads import Downloads
from cnxs.weights.library import MINIATURE_FOLDER, FoundBase, FoundNetwork, Library, kinds_for

__all__ = ["MINIATURE_FOLDER", "Downloads", "FoundBase", "FoundNetwork", "Library", "kinds_for"]
