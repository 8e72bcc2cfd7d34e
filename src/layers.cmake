# Who may include what. Each folder here is one library, and a library finds only its own headers
# and those of its DEPS: build/include/sync/sync is a link to src/sync, and who names sync has
# build/include/sync in the include path. A compiler finds the headers of packages and of the system
# by itself, so a fence stands before those that a library does not name: build/fence/httplib has a
# httplib.h that is an #error and says why. Tests, benchmarks and fuzz targets have no fences.

# podmirror_fence(<name> ROOT <folder> FOLDERS <below it> FILES <below it> OPENED_BY <a name>)
# fences all headers in FOLDERS, and FILES, from libraries that do not name OPENED_BY.
function(podmirror_fence name)
  cmake_parse_arguments(ARG "" "ROOT;OPENED_BY" "FOLDERS;FILES" ${ARGN})
  set(headers ${ARG_FILES})
  foreach(folder ${ARG_FOLDERS})
    file(GLOB_RECURSE found RELATIVE ${ARG_ROOT}
      ${ARG_ROOT}/${folder}/*.h ${ARG_ROOT}/${folder}/*.hpp)
    list(APPEND headers ${found})
  endforeach()
  foreach(header ${headers})
    file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/fence/${name}/${header} @ONLY CONTENT
      "#error \"${header}: only for a library whose CMakeLists.txt names ${ARG_OPENED_BY}\"\n")
  endforeach()
  set_property(GLOBAL APPEND PROPERTY PODMIRROR_FENCES ${name})
  set_property(GLOBAL PROPERTY PODMIRROR_FENCE_${name} ${ARG_OPENED_BY})
endfunction()

# podmirror_library(<folder> SOURCES <files> DEPS <folders whose headers it may include>
#                   LIBS <packages> SYSTEM <threads, sockets> APART <some of the files>)
function(podmirror_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;LIBS;SYSTEM;APART" ${ARGN})
  add_library(podmirror_${name} STATIC ${ARG_SOURCES})

  # Headers of DEPS may include those of their own DEPS.
  set(below ${ARG_DEPS})
  foreach(dep ${ARG_DEPS})
    get_property(further GLOBAL PROPERTY PODMIRROR_BELOW_${dep})
    list(APPEND below ${further})
  endforeach()
  set_property(GLOBAL PROPERTY PODMIRROR_BELOW_${name} ${below})
  set(open ${name} ${below} ${ARG_LIBS} ${ARG_SYSTEM})

  set(include ${PROJECT_BINARY_DIR}/include/${name})
  file(MAKE_DIRECTORY ${include})
  file(CREATE_LINK ${CMAKE_CURRENT_SOURCE_DIR} ${include}/${name} SYMBOLIC)
  target_include_directories(podmirror_${name} PUBLIC ${include})
  get_property(fences GLOBAL PROPERTY PODMIRROR_FENCES)
  foreach(fence ${fences})
    get_property(opened_by GLOBAL PROPERTY PODMIRROR_FENCE_${fence})
    if(NOT opened_by IN_LIST open)
      target_include_directories(podmirror_${name} PRIVATE ${PROJECT_BINARY_DIR}/fence/${fence})
    endif()
  endforeach()

  list(TRANSFORM ARG_DEPS PREPEND podmirror_)
  target_link_libraries(podmirror_${name} PUBLIC podmirror_options ${ARG_DEPS} ${ARG_LIBS})
  # Most of the time goes into the headers of packages: the build with ASan reads them once for
  # ten sources. APART are those with a local name that another source of the folder has, too.
  if(PODMIRROR_SANITIZE MATCHES address)
    set_target_properties(podmirror_${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 10)
    set_source_files_properties(${ARG_APART} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  endif()
endfunction()
