"""Face data in the field's formats: verification ``.bin`` files, RecordIO, pair lists, folders and parquet.

Everything here reads files that strangers wrote: nothing is executed, no size is believed before it was compared with
the file's own, and every fault is a ``DataError`` that names the file and the place in it.
"""
