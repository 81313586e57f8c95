//! Faults, targets, schedules, and the injectors that make them bite.
