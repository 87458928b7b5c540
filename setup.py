"""Packages of a wheel: those of depthdif, and `conf/`, which stands beside them in the repository, as `depthdif/conf`."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["depthdif*"]), "depthdif.conf"],
    package_dir={"depthdif.conf": "conf"},
)
