"""Kinds of data sets: one module each, named as in the configuration.

A module offers ``prepare(options, seed)``, which returns the parts ``train``, ``validation`` and ``test`` as
:class:`approxgrad.tables.Split`, and ``test_rows(options)``, the number of test rows where it is known beforehand.
"""
