"""Pure rules: functions of their arguments, without a clock, chance, a database or a framework."""
