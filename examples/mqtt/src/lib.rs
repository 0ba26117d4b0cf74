//! The parts of the MQTT suite: brokers, clients and the trait they are driven by.
