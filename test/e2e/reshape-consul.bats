load helpers
load reshape

setup_file() { share_cluster consul; }
teardown_file() { stop_all; }

each_test consul
