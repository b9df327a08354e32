"""The Debian packages that the own node and the image build use; installed only where a command is missing."""

from __future__ import annotations

import os
import shutil
import subprocess

from .progress import Progress

PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ethtool": "ethtool",
    "socat": "socat",
    "openssl": "openssl",
    "ip": "iproute2",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
}


class CannotInstall(Exception):
    """Something is missing that this user, or this system, cannot install."""


def missing() -> list[str]:
    """Packages whose command is not there."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    wanted = [package for command, package in PACKAGES.items() if not shutil.which(command, path=path)]
    if not any(os.path.exists(f"{place}/ptp") for place in ("/usr/lib/cni", "/opt/cni/bin")):
        wanted.append("containernetworking-plugins")
    return wanted


def ensure(progress: Progress) -> None:
    if os.geteuid() != 0:
        raise CannotInstall("the own node needs root; or start Docker (kind is used then), or give --cluster=current")
    wanted = missing()
    if not wanted:
        return
    if not shutil.which("apt-get"):
        raise CannotInstall(f"please install {', '.join(wanted)}: this is not a Debian system")
    progress(f"installing Debian packages: {', '.join(wanted)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(("apt-get", "update", "-qq"), check=True, env=environment, stdout=subprocess.DEVNULL)
    install = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", *wanted)
    subprocess.run(install, check=True, env=environment, stdout=subprocess.DEVNULL)
