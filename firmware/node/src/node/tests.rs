mod credit;
mod fuzz;
mod line;
mod model;
mod outputs;
mod storage;
