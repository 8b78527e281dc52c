"""Pictures of people: whatever comes in leaves as a small square WebP without metadata."""

import re
import secrets
from io import BytesIO

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import UploadedFile
from django.template.defaultfilters import filesizeformat
from PIL import Image, ImageOps

FOLDER = "avatars"
SIDE = 256  # pixels: large enough for the profile page at double density
MAX_PIXELS = 25_000_000  # decoded, at four bytes each: what one upload may cost in memory
NAME = re.compile(r"[A-Za-z0-9_-]{20,40}\.webp")

# No SVG: it is a document that can carry scripts. The decoders named here are the only ones that see foreign bytes.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
NOT_AN_IMAGE = "This file is not a picture that can be read. Use a JPEG, PNG, WebP or GIF file."
TOO_MANY_PIXELS = f"This picture has too many pixels. It may have {MAX_PIXELS // 1_000_000} million at most."


def clean_picture(upload: UploadedFile) -> bytes:
    """The upload as a WebP of 256 by 256 pixels, cropped about its centre, turned the right way up.

    Raises ValidationError, with words for the person, for too many bytes or pixels and for what is no picture.
    """
    limit = settings.AVATAR_MAX_BYTES
    data = upload.read(limit + 1)
    if len(data) > limit:
        raise ValidationError(f"This file is too large. A picture may have {filesizeformat(limit)}.")
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            # A few kilobytes can decode to gigabytes; the header tells before anything is decoded.
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            return reencode(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValidationError(TOO_MANY_PIXELS) from error
    except Exception as error:  # decoders raise anything on broken bytes, from SyntaxError to struct.error
        raise ValidationError(NOT_AN_IMAGE) from error


def reencode(image: Image.Image) -> bytes:
    image.draft("RGB", (2 * SIDE, 2 * SIDE))  # a JPEG is decoded at a fraction of its size
    upright = ImageOps.exif_transpose(image)
    mode = "RGBA" if upright.has_transparency_data else "RGB"
    square = ImageOps.fit(upright.convert(mode), (SIDE, SIDE), Image.Resampling.LANCZOS)
    out = BytesIO()
    # The encoder writes only what it is handed: no EXIF, which tells where a photograph was taken, and no profile.
    square.save(out, "WEBP", quality=85, method=4)
    return out.getvalue()


def store(picture: bytes) -> str:
    """Write the file under a random name, so that an address can be cached for ever, and return that name."""
    return default_storage.save(f"{FOLDER}/{secrets.token_urlsafe(18)}.webp", ContentFile(picture))


def read(name: str) -> bytes | None:
    """The bytes behind an address, or None when there are none."""
    if not NAME.fullmatch(name):
        return None
    try:
        with default_storage.open(f"{FOLDER}/{name}") as file:
            return file.read()
    except FileNotFoundError:
        return None


def remove(name: str) -> None:
    """Delete a stored picture; one that is gone already is no error."""
    if name:
        default_storage.delete(name)
