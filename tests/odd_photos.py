"""Photo files that are converted before they are restored, and dialects that every reader takes: made by hand or with
other libraries than those that read them, where there are any.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from tests import photographs
from tests.photo_files import encode_photo, encode_tiff

Pixels = NDArray[Any]
PHOTO = photographs.color_photo(1, 160)[:120]
GRAY = photographs.to_gray(PHOTO)
HEIC_PHOTO = photographs.color_photo(0, 64)
HEIC = {
    8: """
0000SW^{RQXk}?*00000ZE0pPXk}?*ZE0a<00042ZDn*}000000000XXk=`10000000000aA{+700000000000000000000B57=IV*mgE07O6l
0RRC200001dH?|c0000000I#J001LtX>Mi!000000RR916=`l}WdZ;I000310BCk&F#rGn01j|zbZr0t000010002iX>f9I0002DX>en20001Z
Xm(>m0RwOV0058x000009`FGC{rLC*01pFT0096PKmiN^|NjGU00093kN^M!000939=ZZRVE_RDD?$MQ18@KU0|1Z!00RI30{|YNAb|yz>PacC
ZUPz%2mk;B0LTCU0{{p>VgLaE2SfqEa<C#m0000JV{dG7ZewhC0096E00w{n000zeb8uw<00000002M$002M$000nhX?SS>000032nYxO000+h
aBX1#00000000310R({p0|Wp70vT;&VRQfh0u3kuuNi>0x-jwfijnApPmXJ{#nJcpi`p7ZvC=CyqKZ0Dq4+Sg*y-
LX;a}D3wZ5|HS{m>xeCCIgmQ}`^<&s3HT6+`0dzLL%*V6ez#quRyrV5zj%w^+zkl=3N@iVM%4F2AqDDM2gvA_K-fwVPNCi1wrWTx2I+IDi29{G
?~TxNLK3`11AjJqH?97F&@DfM9su$RL&*dHUTeoo+&(p|RE-6R-
`A)Ke;9k1|+0g5K>ZRUWmOjc?<U6j%#@`>>JaixSPNXA{5Y(GI%q}6ITcBix(LViO56`bUjg@GzLn4(hRX%I%v3nhw8K%v8g@ED<l;46wYxT<K
HV*3OOz+nCJlq?bU>MBDI6=c7Usjw!Sk-Xud<Y1mefb2+ajnqDt^1lxdtv=DtTQ<>(3jlTZUV7rVRq`%S7g6PWjMoyR&~mtgIlPJ;N`sR`T>p!
bI*NPEG|w}ZszkcN0%$=YZ$c;b{g{KR(zyQ+D%2#)RBHP#zIita_X1GW81~cU%VctEHQjg$>z2mi$DbS`oYjP7;xxvAVIc*Re(pBA!q29Kn(H>
UU1qz6sZ|VL6Hi>dbri`%sOtrDTBlc)UNj*ow5YV$6-czMIdj>hjcC>(ANz_CRbPI<L1YIqMbC#t<+0(3_QODa0YyEz*i~W5-
=IZo5ipLCScRlIh6VB
""",
    10: """
0000SW^{RQXk}@500000ZE0pPXk}@5ZE0a<0003~ZDn*}000000000XXk=`10000000000aA{+700000000000000000000B57=IV*mgE07O6l
0RRC200001cK`tZ0000000JKX001LtX>Mi!000000RR916=`l}WdZ;I000310BCk&F#rGn01j|zbZr0t000010002fX>f9I0002AX>en20001W
Xm(>m0R#vD005o1000009`FGC{rdU<01pFT0096OKmiN^|NjIC00093owxu10{{RXx&lC90096gLID8;2mk;B0G+r100RI39-
ttB1lew+lA7k=A)vs3000bt00093gkk^z00%??!E&%7KmY&$6Ju{|a&BX6cmM$a4FCp!0000KX>)L8000000000$0000$0000GaA|mH000000}
2WX0000NX>e^}0000000001009Jn0s{m900Jj%WMOmw00J8*0k0W=!>2yh9zM}hJrHT}&30J2KK~JWLrJzeMP~F-
M@kew1{RwgJH=cp`n`6y)?GV4Gcm=3effh2y2~o#P3-
`NQB=;F%usAhTOOh803prrzYCb*eCs&spLPBB4%k4{WoE<8T77nx607RSc}ZX644wYY@KW*B`Iy9EX+|usstj$IbJ?1M5+8x~3!LBzI+ya6rYH
7aE!FrR42lW;U|c22pYt5K|Ca+LoHvTg%9{;lrJqQ4=qdVWHSBY!xig!K%U(PzO5iAv5YXq2-VCI5`fLzJ3d`|JeZ>-
LEujHl<u0zRL&C<t>V+<BZqbHd^C+JJe(U{nq=U@R<0v13m%ij9b!aq+fA6X38f|P7W@3{NrPY6Z4WK>Ma`mrH1^@9eU9)LBppnXdF6WENw|w?
~3&o@<T9f4cv(e8yrkNtzC^mkyy(u8+i9<Q#%hI*F0hKrC)eRSgOaV`B9Cm_~znirI?_V#e{plthwuCU+co}l3+GykJ3tMEK;#Tv=CqX+@o5sw
cn#R75L3njafQ{I$77-nWteGs|)=u*^A-g$0Amt3+U5n-
*FI14LlrNlSxSsJyE^Gjmhn~`8aHj9e7H~S6z18sre8Y4psaFMn^x!|*gRa%fl6JpQ$oC$N*9Nh`+24_v%+N?**gegwOEJdhQXpDHz_%afUOJ?
xw51iEpa(IqOTY
""",
}
"""`HEIC_PHOTO` at quality 30, written by pillow-heif with x265, in Python's base 85."""


def decode_heic(bits: int) -> bytes:
    return base64.b85decode(HEIC[bits].replace("\n", ""))


def widen(pixels: Pixels, bits: int) -> Pixels:
    """8-bit pixels at another depth, in 16-bit numbers."""
    return np.round(pixels.astype(np.float64) * (((1 << bits) - 1) / 255)).astype(np.uint16)


def to_lab(model: str, bits: int) -> Pixels:
    """The photo in Lab under D50, as a TIFF's photometric stores it."""
    lab = imagecodecs.cms_transform(
        PHOTO / 255,
        imagecodecs.cms_profile("srgb"),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
        colorspace="rgb",
        outcolorspace="lab",
        outdtype=np.float64,
    )
    lightness, a, b = np.moveaxis(lab, -1, 0)
    full = (1 << bits) - 1
    if model == "itulab":
        stored = np.stack([lightness / 100, (a + 85) / 170, (b + 75) / 200], -1) * full
        return np.round(stored.clip(0, full)).astype(f"u{bits // 8}")
    step = 1 << (bits - 8)
    if model == "icclab":
        stored = np.stack([lightness * ((255 if bits == 8 else 65280) / 100), (a + 128) * step, (b + 128) * step], -1)
        return np.round(stored.clip(0, full)).astype(f"u{bits // 8}")
    planes = [np.round(lightness * (full / 100)), np.round(a * step) % (full + 1), np.round(b * step) % (full + 1)]
    return np.stack(planes, -1).astype(f"u{bits // 8}")


def to_ycbcr() -> Pixels:
    return np.asarray(Image.fromarray(PHOTO).convert("YCbCr"))


def to_inks() -> Pixels:
    """Inks without black, which any profile turns into something like the photo."""
    return np.dstack([255 - PHOTO, np.zeros_like(GRAY)])


def encode_packed_tiff(bits: int) -> bytes:
    """A TIFF of gray samples that share bytes."""
    return encode_tiff(widen(GRAY, bits), photometric="minisblack", bitspersample=bits)


def color_jpeg(bits: int, **options: Any) -> bytes:
    return bytes(imagecodecs.jpeg_encode(PHOTO if bits == 8 else widen(PHOTO, bits), bitspersample=bits, **options))


def jp2(pixels: Pixels, **options: Any) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(pixels, **{"level": 0, "reversible": True, **options}))


def avif(bits: int) -> bytes:
    return bytes(imagecodecs.avif_encode(PHOTO if bits == 8 else widen(PHOTO, bits), level=95, bitspersample=bits))


def rgb(pixels: Pixels = PHOTO, **options: Any) -> Callable[[], bytes]:
    return lambda: encode_tiff(pixels, photometric="rgb", **options)


# name: (format of the result, bits, bands, how far colors may be off on average in codes of 255, what makes the file)
CONVERTED: Mapping[str, tuple[str, int, int, float, Callable[[], bytes]]] = {
    "8.jp2": ("tiff", 8, 3, 0, lambda: jp2(PHOTO)),
    "16.jp2": ("tiff", 16, 3, 0.1, lambda: jp2(widen(PHOTO, 16))),
    "12.jp2": ("tiff", 16, 3, 0.1, lambda: jp2(widen(PHOTO, 12), bitspersample=12)),
    "gray.jp2": ("tiff", 8, 1, 0, lambda: jp2(GRAY)),
    "codestream.j2k": ("tiff", 8, 3, 0, lambda: jp2(PHOTO, codecformat="j2k")),
    "lossy.jp2": ("tiff", 8, 3, 3, lambda: jp2(PHOTO, level=40, reversible=False)),
    "print.jpg": ("jpeg", 8, 3, 12, lambda: encode_photo("JPEG", PHOTO, mode="CMYK", quality=92)),
    "print.tif": ("tiff", 8, 3, 30, lambda: encode_tiff(to_inks(), photometric="separated")),
    "print 16.tif": ("tiff", 16, 3, 30, lambda: encode_tiff(widen(to_inks(), 16), photometric="separated")),
    "cie lab.tif": ("tiff", 16, 3, 1.5, lambda: encode_tiff(to_lab("cielab", 8), photometric="cielab")),
    "cie lab 16.tif": ("tiff", 16, 3, 1.5, lambda: encode_tiff(to_lab("cielab", 16), photometric="cielab")),
    "icc lab.tif": ("tiff", 16, 3, 1.5, lambda: encode_tiff(to_lab("icclab", 8), photometric="icclab")),
    "icc lab 16.tif": ("tiff", 16, 3, 1.5, lambda: encode_tiff(to_lab("icclab", 16), photometric="icclab")),
    "itu lab.tif": ("tiff", 16, 3, 1.5, lambda: encode_tiff(to_lab("itulab", 8), photometric="itulab")),
    "12 packed.tif": ("tiff", 16, 1, 0.1, lambda: encode_packed_tiff(12)),
    "10 packed.tif": ("tiff", 16, 1, 0.3, lambda: encode_packed_tiff(10)),
    "signed.tif": ("tiff", 16, 3, 0.1, rgb(widen(PHOTO, 15).astype(np.int16))),
    "32.tif": ("tiff", 16, 3, 0.1, rgb(PHOTO.astype(np.uint32) * 0x01010101)),
    "half.tif": ("tiff", 16, 3, 0.2, rgb((PHOTO / 255).astype(np.float16))),
    "float.tif": ("tiff", 16, 3, 0.1, rgb((PHOTO / 255).astype(np.float32), compression="zlib", predictor=3)),
    "double.tif": ("tiff", 16, 3, 0.1, rgb(PHOTO / 255)),
    "planes in tiles.tif": (
        *("tiff", 8, 3, 0),
        rgb(np.moveaxis(PHOTO, -1, 0), planarconfig="separate", tile=(64, 32), compression="lzw"),
    ),
    "zstd.tif": ("tiff", 8, 3, 0, rgb(compression="zstd", tile=(64, 64))),
    "jpeg 2000 inside.tif": ("tiff", 8, 3, 0, rgb(compression="jpeg2000")),
    "ycbcr.tif": ("tiff", 8, 3, 1, lambda: encode_tiff(to_ycbcr(), photometric="ycbcr")),
    "12.jpg": ("tiff", 16, 3, 4, lambda: color_jpeg(12, level=95)),
    "lossless.jpg": ("tiff", 8, 3, 0, lambda: color_jpeg(8, lossless=True)),
    "lossless 16.jpg": ("tiff", 16, 3, 0.1, lambda: color_jpeg(16, lossless=True)),
    "8.avif": ("tiff", 8, 3, 3, lambda: avif(8)),
    "10.avif": ("tiff", 16, 3, 3, lambda: avif(10)),
    "12.avif": ("tiff", 16, 3, 3, lambda: avif(12)),
    "8.heic": ("tiff", 8, 3, 12, lambda: decode_heic(8)),
    "10.heic": ("tiff", 16, 3, 12, lambda: decode_heic(10)),
    "plain.bmp": ("tiff", 8, 3, 0, lambda: encode_photo("BMP", PHOTO)),
    "gray.gif": ("tiff", 8, 3, 0, lambda: encode_photo("GIF", GRAY)),
}
