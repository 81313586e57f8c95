//! Generators, clients and the load engine.
