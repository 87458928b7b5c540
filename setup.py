"""Puts `conf/`, which stands beside the package in the repository, into the package of a wheel as `depthdif/conf`."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["depthdif*"]), "depthdif.conf"],
    package_dir={"depthdif.conf": "conf"},
    package_data={"depthdif.conf": ["**/*.yaml"]},
)
