load helpers
load reshape

setup_file() { share_cluster embedded; }
teardown_file() { stop_all; }

each_test embedded
