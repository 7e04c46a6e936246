// micserve: the models of this facility's server as tools of ImageJ and Fiji.
// Montpellier Ressources Imagerie, BioCampus Montpellier, www.mri.cnrs.fr; it replaces the DL4Mic toolset.
// Needs ImageJ 1.53f or later (plain or Fiji) and curl. Server: http://127.0.0.1:8000/fiji/
requires("1.53f");

var helpURL = "http://127.0.0.1:8000/fiji/";
// The names as they were when the list was last read: tools cannot ask a server while they are installed.
var modelNames = split(call("ij.Prefs.get", "micserve.menu", "no list yet"), ",");
var modelMenu = newMenu("Select a model Menu Tool", Array.concat(modelNames, newArray("-", "Read the list again")));

macro "About micserve (f2) Action Tool - C077T0b12mT9b10sC000" { micserve_about(); }
macro "About micserve [f2]" { micserve_about(); }

macro "Help (f3) Action Tool - C077O11eeC000T5c12?" { micserve_help(); }
macro "Help on micserve [f3]" { micserve_help(); }

macro "Select a model Menu Tool - C077R11c3R16c3R1bc3C000" { micserve_select(getArgument()); }

macro "Info on the model (f4) Action Tool - C077O11eeC000T6d12i" { micserve_info(); }
macro "Info on the model [f4]" { micserve_info(); }

macro "Training parameters (f5) Action Tool - C077T1b12TT8b12pC000" { done = micserve_ask_training_parameters(micserve_family()); }
macro "Training parameters [f5]" { done = micserve_ask_training_parameters(micserve_family()); }

macro "Train (f6) Action Tool - C077T4b14TC000" { micserve_ask_train(); }
macro "Train [f6]" { micserve_ask_train(); }
macro "Train (f6) Action Tool Options" { done = micserve_ask_training_parameters(micserve_family()); }

macro "Evaluate (f7) Action Tool - C077L1e6aL6aa8La8e2C000L1eeeL1e11" { micserve_ask_evaluate(); }
macro "Evaluate [f7]" { micserve_ask_evaluate(); }
macro "Evaluate (f7) Action Tool Options" { micserve_ask_evaluate_options(); }

macro "Predict (f8) Action Tool - C077V113eC000L58b8L88b5C077V113eC000L58b8L95c8L9bc8" { micserve_ask_predict(); }
macro "Predict [f8]" { micserve_ask_predict(); }
macro "Predict (f8) Action Tool Options" { done = micserve_ask_parameters(micserve_setting("model", "")); }

macro "Segment nuclei (f9) Action Tool - C077O1277O9455O5a65C000" { micserve_ask_segment(); }
macro "Segment nuclei [f9]" { micserve_ask_segment(); }
macro "Segment nuclei (f9) Action Tool Options" { done = micserve_ask_parameters(micserve_setting("nuclei", "")); }

macro "Batch folder (f10) Action Tool - C077R1399R3599R5799C000" { micserve_ask_batch(); }
macro "Batch folder [f10]" { micserve_ask_batch(); }
macro "Batch folder (f10) Action Tool Options" { done = micserve_ask_parameters(micserve_setting("model", "")); }

macro "Server... (f11) Action Tool - C077R12c4R19c4C000D34D3b" { micserve_ask_server(); }
macro "Server... [f11]" { micserve_ask_server(); }
