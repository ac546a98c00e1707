"""A seeded phantom of fetal single-shot T2-weighted MRI: anatomy → contrast → acquisition → harm.

The scene (`scene`, `mother`, `fetus`, `head`) is a set of implicit shapes in millimetres, whose
sizes follow gestational age (`growth`); `contrast` gives each tissue its signal, `acquisition`
cuts the scene into stacks, `degradation` does named physical harm with a stated strength, `presets`
says how much of everything a data set holds and `generation` writes it.
"""
