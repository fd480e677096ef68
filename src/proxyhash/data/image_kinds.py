"""Kinds of image files by their first bytes, and a sentence about everything that is none of them.

Names are not trusted: phones and servers call HEIC images .jpg. Only raster formats with a
signature are opened, each by its own decoder, since files come from strangers: EPS would start
Ghostscript, ICO decodes an image before its size can be checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import PurePath

from PIL import Image, features

from proxyhash.errors import ImageError

__all__ = ["HEAD_BYTES", "ImageKind", "kind_of", "preload", "unknown_kind"]

HEAD_BYTES = 512
"""Number of bytes that are enough to tell the kind of a file."""


@dataclass(frozen=True)
class ImageKind:
    """One kind of image file.

    Attributes:
        name: as people say it.
        format: Pillow's name.
        module: whose import registers the decoder.
        suffixes: of its files.
        package: that has the module, where it is not Pillow itself.
    """

    name: str
    format: str
    module: str
    suffixes: tuple[str, ...]
    package: str | None = None

    @property
    def decodes_at_once(self) -> bool:
        """Whether opening such a file already takes the memory of its pixels."""
        return self.name in {"WebP", "JPEG XL"}

    def load(self) -> None:
        """Make Pillow know the format.

        Raises:
            ImageError: "this is a HEIC image; reading it needs a plug-in: pip install ...".
        """
        try:
            module = import_module(self.module)
            if self.module == "pillow_heif":
                module.register_heif_opener()
        except MemoryError:  # of a process with little left, which says nothing of the plug-in
            raise
        except Exception as error:  # a plug-in whose library does not load raises any type
            why = "" if isinstance(error, ModuleNotFoundError) else f" ({error})"
            raise ImageError(
                f"reading a {self.name} image needs a plug-in of Pillow{why}: pip install "
                f"{self.package}, or convert the image to JPEG"
            ) from error
        if self.format == "AVIF" and not features.check("avif"):
            try:
                import_module("pillow_avif")
            except ImportError as error:
                raise ImageError(
                    "this Pillow reads no AVIF images: pip install pillow-avif-plugin, or convert "
                    "the image to JPEG"
                ) from error
        if self.format not in Image.OPEN:
            raise ImageError(f"this Pillow reads no {self.name} images; convert it to JPEG")


_KINDS = {
    kind.name: kind
    for kind in (
        ImageKind("JPEG", "JPEG", "PIL.JpegImagePlugin", (".jpg", ".jpeg", ".jpe", ".jfif")),
        ImageKind("PNG", "PNG", "PIL.PngImagePlugin", (".png", ".apng")),
        ImageKind("GIF", "GIF", "PIL.GifImagePlugin", (".gif",)),
        ImageKind("WebP", "WEBP", "PIL.WebPImagePlugin", (".webp",)),
        ImageKind("TIFF", "TIFF", "PIL.TiffImagePlugin", (".tif", ".tiff", ".dng", ".nef")),
        ImageKind("BMP", "BMP", "PIL.BmpImagePlugin", (".bmp",)),
        ImageKind("PPM", "PPM", "PIL.PpmImagePlugin", (".ppm", ".pgm", ".pbm", ".pnm", ".pfm")),
        ImageKind(
            "JPEG 2000", "JPEG2000", "PIL.Jpeg2KImagePlugin", (".jp2", ".j2k", ".jpx", ".j2c")
        ),
        ImageKind("AVIF", "AVIF", "PIL.AvifImagePlugin", (".avif", ".avifs")),
        ImageKind("HEIC", "HEIF", "pillow_heif", (".heic", ".heif", ".hif"), "pillow-heif"),
        ImageKind("JPEG XL", "JXL", "pillow_jxl", (".jxl",), "pillow-jxl-plugin"),
    )
}


def preload() -> None:
    """Make Pillow know every format that it reads itself, before memory is limited."""
    for kind in _KINDS.values():
        if kind.package is None:
            import_module(kind.module)


_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "TIFF"),
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
    **{b"P" + digit: "PPM" for digit in (b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"F", b"f")},
}
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_CONTAINERS = {b"mif1", b"mif2", b"msf1"}

_OTHERS = {
    b"%!PS": "a PostScript file, which is a program; export it as PNG",
    b"\xc5\xd0\xd3\xc6": "an EPS file, which is a program; export it as PNG",
    b"%PDF": "a PDF document; export its pages as PNG",
    b"8BPS": "a Photoshop document; export it as PNG or JPEG",
    b"\0\0\1\0": "an icon (ICO); convert it to PNG",
    b"<svg": "an SVG drawing; export it as PNG",
    b"<?xml": "an XML or SVG file; export a drawing as PNG",
    b"version https://git-lfs": "a pointer of Git LFS; `git lfs pull` fetches the image",
    b"PK\3\4": "a ZIP archive; unpack it",
    b"\x1f\x8b": "a gzip archive; unpack it",
    b"FUJIFILMCCD-RAW": "a camera's raw file; convert it to JPEG",
}


def kind_of(head: bytes) -> ImageKind | None:
    """Return the kind of an image file by its first bytes, None for anything else."""
    for signature, name in _SIGNATURES.items():
        if head.startswith(signature):
            return _KINDS[name]
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return _KINDS["WebP"]
    if head[4:8] == b"ftyp":
        return _of_brands(head)
    return None


def _of_brands(head: bytes) -> ImageKind | None:
    """Return the kind of an ISO media file by its main and compatible brands."""
    end = min(int.from_bytes(head[:4]), len(head), 256)
    main, others = head[8:12], {head[place : place + 4] for place in range(16, end, 4)}
    if main in _AVIF_BRANDS or (main in _CONTAINERS and others & _AVIF_BRANDS):
        return _KINDS["AVIF"]
    if main in _HEIC_BRANDS | _CONTAINERS or others & _HEIC_BRANDS:
        return _KINDS["HEIC"]
    return None


def unknown_kind(head: bytes, name: str) -> str:
    """Return the end of a sentence about a file that is not an image of a known kind."""
    if not head:
        return "the file is empty (0 bytes); copy or download it again"
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if begin.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")):
        return (
            "this is a web page (HTML), not an image; a server may have answered with an error "
            "page: download it again"
        )
    for signature, what in _OTHERS.items():
        if begin.startswith(signature.lower()):
            return f"this is {what}"
    if head[4:8] == b"ftyp":
        return "this is a video or a camera's raw file; save an image of it as JPEG"
    if not head.strip(b"\0"):
        return "the file begins with zeros only, as after a broken copy; copy or download it again"
    suffix = PurePath(name).suffix.lower()
    expected = next((kind.name for kind in _KINDS.values() if suffix in kind.suffixes), None)
    mark = f"; its content is not that of a {expected} image" if expected else ""
    step = "copy or download it again" if expected else "save it as JPEG or PNG"
    return f"not an image that can be read (the format is not recognized{mark}); {step}"
