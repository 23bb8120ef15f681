"""A plugin under which the doctor always has one warning."""

from ssept.measure import doctor

doctor.warnings_of = lambda _: ["the neighbours are loud: ask them"]
