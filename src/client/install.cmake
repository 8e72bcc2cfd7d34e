# What `cmake --install` brings to other projects: podmirror::client, one archive with all our code
# that the client needs, its public headers, and the package config that finds the other libraries.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# The sources that speak HTTP are left out: a client reads pod records nowhere. Of trust it needs
# what reads certificates.
set(certificates "/(certificate|name_pattern)[.]cpp")
set(http "/(etcd_v2_[a-z]+|kube_api_[a-z]+|http_client)[.]cpp")
add_library(podmirror_client_package STATIC
  $<TARGET_OBJECTS:podmirror_client> $<TARGET_OBJECTS:podmirror_base>
  $<FILTER:$<TARGET_OBJECTS:podmirror_discovery>,EXCLUDE,${http}>
  $<FILTER:$<TARGET_OBJECTS:podmirror_net>,EXCLUDE,${http}>
  $<FILTER:$<TARGET_OBJECTS:podmirror_trust>,INCLUDE,${certificates}>
  $<TARGET_OBJECTS:podmirror_telemetry> $<TARGET_OBJECTS:podmirror_cache>
  $<TARGET_OBJECTS:podmirror_sync> $<TARGET_OBJECTS:podmirror_follow>
  $<TARGET_OBJECTS:podmirror_wire> $<TARGET_OBJECTS:proto_cache> $<TARGET_OBJECTS:proto_peer>
  $<TARGET_OBJECTS:proto_etcd> $<TARGET_OBJECTS:proto_kubernetes>)
set_target_properties(podmirror_client_package PROPERTIES
  LINKER_LANGUAGE CXX EXPORT_NAME client OUTPUT_NAME podmirror_client
  ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/package)
target_compile_features(podmirror_client_package PUBLIC cxx_std_20)
# Private: programs that use the archive link these libraries, but our headers include none of
# theirs.
target_link_libraries(podmirror_client_package PRIVATE
  gRPC::grpc++ protobuf::libprotobuf prometheus-cpp::core OpenSSL::Crypto PkgConfig::XXHASH
  absl::flat_hash_map absl::flat_hash_set absl::node_hash_set absl::random_random
  absl::strings absl::synchronization absl::time Threads::Threads)

# Folders named "base" and "client" must not get into the include path of other projects. So the
# headers are installed below podmirror/, and include each other as "podmirror/...".
set(headers base/status.h client/client.h client/daemons.h client/entry.h client/mirror.h
    client/options.h)
foreach(header ${headers})
  set(source ${PROJECT_SOURCE_DIR}/src/${header})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${source})
  file(READ ${source} text)
  string(REGEX REPLACE "#include \"(base|client)/" "#include \"podmirror/\\1/" text "${text}")
  set(installed ${CMAKE_CURRENT_BINARY_DIR}/include/podmirror/${header})
  file(CONFIGURE OUTPUT ${installed} CONTENT "${text}" @ONLY)
endforeach()

set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/podmirror)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/podmirrorConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(TARGETS podmirror_client_package EXPORT podmirror INCLUDES DESTINATION include)
install(DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/include/podmirror DESTINATION include)
install(EXPORT podmirror NAMESPACE podmirror:: FILE podmirrorTargets.cmake
  DESTINATION ${config_dir})
install(FILES podmirrorConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/podmirrorConfigVersion.cmake
  DESTINATION ${config_dir})
