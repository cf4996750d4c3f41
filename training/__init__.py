"""Training from the checkout: pairs, an EO teacher, feature distillation into a SAR student.

Not part of the installed package.
"""
