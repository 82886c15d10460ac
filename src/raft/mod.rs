//! The consensus FSM.
