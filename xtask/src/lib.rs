//! The project's own services, for its demo and its tests.
