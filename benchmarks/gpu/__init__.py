"""Everything we claim of a GPU, measured on one in eight minutes.

    python -m benchmarks.gpu                       # on a machine where edged is installed with its extra `gpu`
    python -m benchmarks.gpu.prepare FOLDER        # for a bare one: makes a folder to copy there
    sh FOLDER/run.sh                               # and this is all that is done there

Each part is a process of its own with a share of the time, so that one that hangs or dies costs its own figures alone.
Writes one JSON file and one table, named after device and day, with driver, clocks, temperatures and versions.
"""
